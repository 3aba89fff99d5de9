/**
 * An open WebSocket: two sockets, the frames that pass between them, and how they end.
 * Invariant: neither side outlives the other longer than the received bytes need to be delivered; and the gateway writes its close
 * frame between two frames, never into one.
 */
import type { Socket } from "node:net";
import { FrameReader } from "./frame-reader.ts";

/** A close frame with status 1001, "going away" (RFC 6455 sections 5.5.1 and 7.4.1), as a server sends it: not masked. */
const GOING_AWAY = Buffer.from([0x88, 0x02, 0x03, 0xe9]);

/** How long the remaining side may read nothing of the undelivered bytes, ms. */
const FLUSH_MS = 1_000;

/** How long a WebSocket that was closed with 1001 may take to end by itself, ms. */
const CLOSE_MS = 2_000;

/** The operating system probes a silent connection after this many ms, and so finds a half-open one. */
const PROBE_AFTER_MS = 60_000;

export class OpenTunnel {
  /** Resolves when both sockets are closed. */
  readonly closed: Promise<void>;
  readonly upstream: Socket;
  readonly #client: Socket;
  readonly #fromClient = new FrameReader();
  readonly #fromUpstream = new FrameReader();
  #closeFrame: "none" | "waiting" | "sent" = "none";

  /** @param client piped both ways with `upstream`; no byte has passed yet. @param idleMs 0 for no limit. */
  constructor(client: Socket, upstream: Socket, idleMs: number) {
    this.#client = client;
    this.upstream = upstream;
    // One listener that reads the frames and forwards them costs less than a pipe and a listener.
    client.unpipe(upstream);
    upstream.unpipe(client);
    client.on("data", this.#onClientData).on("drain", () => upstream.resume());
    upstream.on("data", this.#onUpstreamData).on("drain", () => client.resume());
    client.resume();
    upstream.resume();
    this.closed = Promise.all([this.#watch(client, upstream), this.#watch(upstream, client)]).then(() => {});
    // Bytes in either direction are activity of the client's socket.
    if (idleMs > 0) client.setTimeout(idleMs, () => this.forceClose());
  }

  /**
   * Sends a close frame with 1001 at the next end of a frame, then ends both sides once the client has sent its own. A client that
   * stays silent has nothing in flight that an end would cut: it may be gone.
   */
  closeGoingAway(): void {
    if (this.#closeFrame !== "none") return;
    this.#closeFrame = "waiting";
    if (this.#fromUpstream.isAtBoundary) this.#sendCloseFrame();
  }

  /** The same with a time limit: the end of the current frame or the client's close frame may never come. */
  forceClose(): void {
    this.closeGoingAway();
    setTimeout(() => this.destroy(), CLOSE_MS).unref();
  }

  destroy(): void {
    this.#client.destroy();
    this.upstream.destroy();
  }

  readonly #onUpstreamData = (chunk: Buffer): void => {
    const end = this.#fromUpstream.read(chunk);
    if (this.#closeFrame === "sent" || !this.#client.writable) return;
    const isLast = this.#closeFrame === "waiting" && end !== -1;
    if (!this.#client.write(isLast ? chunk.subarray(0, end) : chunk)) this.upstream.pause();
    if (isLast) this.#sendCloseFrame();
  };

  readonly #onClientData = (chunk: Buffer): void => {
    this.#fromClient.read(chunk);
    if (this.upstream.writable && !this.upstream.write(chunk)) this.#client.pause();
    if (this.#closeFrame === "sent" && this.#fromClient.hasSeenClose) this.#endBoth();
  };

  #sendCloseFrame(): void {
    this.#closeFrame = "sent";
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
    }, CLOSE_MS);
    timer.unref();
    client.once("close", () => clearInterval(timer));
  }

  /** After what was written to each. */
  #endBoth(): void {
    this.upstream.end();
    this.#client.end();
  }

  /** Ends `other` when `socket` has ended; resolves when `socket` is closed. */
  #watch(socket: Socket, other: Socket): Promise<void> {
    socket.setKeepAlive(true, PROBE_AFTER_MS);
    socket.on("error", () => socket.destroy());
    // A side that will send nothing more has closed its WebSocket, although TCP would allow a half-open connection.
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

/** Delivers what is left as long as the peer reads it, then destroys the socket. */
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
