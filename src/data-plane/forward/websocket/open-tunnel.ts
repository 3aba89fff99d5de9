/**
 * A WebSocket that is open: two sockets that were piped into each other, and how they end.
 * Invariant: neither side outlives the other by more than it takes to hand over what was received; and a farewell is
 * written between two frames, never into one.
 */
import type { Socket } from "node:net";
import { FrameReader } from "./frame-reader.ts";

/** A close frame with status 1001, "going away" (RFC 6455 sections 5.5.1 and 7.4.1), as a server sends it: not masked. */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9]);

/** How long the side that is left may go without taking any of what is still to be handed over, ms. */
const FLUSH_MS = 1_000;

/** How long one that is sent away may take to end by itself, ms. */
const FAREWELL_MS = 2_000;

/** Half-open connections that say nothing are found by the operating system's probes, from this many ms on. */
const PROBE_AFTER_MS = 60_000;

export class OpenTunnel {
  /** Resolves when both sockets are closed. */
  readonly closed: Promise<void>;
  readonly upstream: Socket;
  readonly #client: Socket;
  readonly #fromClient = new FrameReader();
  readonly #fromUpstream = new FrameReader();
  #farewell: "none" | "waiting" | "sent" = "none";

  /** Takes over sockets that are piped both ways, before the first byte has passed. @param idleMs 0 for no limit. */
  constructor(client: Socket, upstream: Socket, idleMs: number) {
    this.#client = client;
    this.upstream = upstream;
    client.on("data", this.#onClientData);
    upstream.on("data", this.#onUpstreamData);
    this.closed = Promise.all([this.#watch(client, upstream), this.#watch(upstream, client)]).then(() => {});
    // What passes either way is activity of the client's socket.
    if (idleMs > 0) client.setTimeout(idleMs, () => this.sendAway());
  }

  /**
   * Says goodbye with 1001 at the next end of a frame, then ends both sides once the client has answered. One that was told and
   * says nothing has nothing that an end would cut: it may have been gone for hours.
   */
  goAway(): void {
    if (this.#farewell !== "none") return;
    this.#farewell = "waiting";
    this.upstream.unpipe(this.#client);
    this.upstream.resume();
    if (this.#fromUpstream.isAtBoundary) this.#sayGoodbye();
  }

  /** The same, and an end to it: the farewell waits for the end of a frame and for the client's answer, and either may never come. */
  sendAway(): void {
    this.goAway();
    setTimeout(() => this.destroy(), FAREWELL_MS).unref();
  }

  destroy(): void {
    this.#client.destroy();
    this.upstream.destroy();
  }

  readonly #onUpstreamData = (chunk: Buffer): void => {
    const end = this.#fromUpstream.read(chunk);
    if (this.#farewell !== "waiting") return;
    // Not piped any more: the rest of the frame that was under way goes by hand.
    const isRoom = this.#client.write(end === -1 ? chunk : chunk.subarray(0, end));
    if (end !== -1) this.#sayGoodbye();
    else if (!isRoom) {
      this.upstream.pause();
      this.#client.once("drain", () => this.upstream.resume());
    }
  };

  readonly #onClientData = (chunk: Buffer): void => {
    this.#fromClient.read(chunk);
    if (this.#farewell === "sent" && this.#fromClient.hasSeenClose) this.#endBoth();
  };

  #sayGoodbye(): void {
    this.#farewell = "sent";
    this.#client.write(GOING_AWAY);
    if (this.#fromClient.hasSeenClose) this.#endBoth();
    else this.#endWhenSilent();
  }

  #endWhenSilent(): void {
    const client = this.#client;
    let bytesRead = client.bytesRead;
    const timer = setInterval(() => {
      if (client.bytesRead === bytesRead && client.writableLength === 0) {
        endSoon(this.upstream);
        endSoon(client);
      }
      bytesRead = client.bytesRead;
    }, FAREWELL_MS);
    timer.unref();
    client.once("close", () => clearInterval(timer));
  }

  /** Behind what was written to each. */
  #endBoth(): void {
    this.upstream.end();
    this.#client.end();
  }

  /** Ends `other` when `socket` has ended; resolves when `socket` is closed. */
  #watch(socket: Socket, other: Socket): Promise<void> {
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    socket.on("error", () => socket.destroy());
    // A side that will send nothing more has closed its WebSocket, whatever TCP would still allow.
    socket.once("end", () => endSoon(other));
    return new Promise((resolve) => {
      const onClose = () => {
        endSoon(other);
        resolve();
      };
      if (socket.closed) onClose();
      else socket.once("close", onClose);
    });
  }
}

/** Hands over what is left as long as it is taken, then destroys. */
function endSoon(socket: Socket): void {
  if (socket.destroyed) return;
  socket.end();
  let left = socket.writableLength;
  const timer = setInterval(() => {
    if (socket.writableLength > 0 && socket.writableLength < left) left = socket.writableLength;
    else socket.destroy();
  }, FLUSH_MS);
  timer.unref();
  socket.once("close", () => clearInterval(timer));
}
