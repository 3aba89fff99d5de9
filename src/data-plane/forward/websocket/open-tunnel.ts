/**
 * An open WebSocket: two sockets, the frames that pass between them, and how they end.
 * Invariant: neither side outlives the other longer than the received bytes need to be delivered; and the gateway writes its close
 * frame between two frames, never into one.
 */
import type { Socket } from "node:net";
import { ClientMessages } from "./client-messages.ts";
import { FrameReader } from "./frame-reader.ts";
import type { MessageInjection } from "./message-injection.ts";

/** A close frame with status 1001, "going away" (RFC 6455 sections 5.5.1 and 7.4.1), as a server sends it: not masked. */
const GOING_AWAY = closeFrame(1001);

/** How long the remaining side may read nothing of the undelivered bytes, ms. */
const FLUSH_MS = 1_000;

/** How long a WebSocket that was closed with 1001 may take to end by itself, ms. */
const CLOSE_MS = 2_000;

/** The operating system probes a silent connection after this many ms, and so finds a half-open one. */
const PROBE_AFTER_MS = 60_000;

const UNAVAILABLE = closeFrame(1011, "the credential is not available");

class WebSocketOver extends Error {}

export class OpenTunnel {
  /** Resolves when both sockets are closed. */
  readonly closed: Promise<void>;
  readonly upstream: Socket;
  readonly #client: Socket;
  readonly #fromClient: FrameReader | ClientMessages;
  readonly #fromUpstream = new FrameReader();
  #closeFrame: "none" | "waiting" | "sent" = "none";
  #closing = GOING_AWAY;
  /** The client's frames are no longer read. */
  #endsWithClose = false;
  /** It must end soon: the caller or the service may have lost its permission. */
  #isForced = false;

  /**
   * @param client piped both ways with `upstream`; no byte has passed yet. @param idleMs 0 for no limit.
   * @param injection undefined where the client's bytes pass as they are.
   */
  constructor(client: Socket, upstream: Socket, idleMs: number, injection: MessageInjection | undefined) {
    this.#client = client;
    this.upstream = upstream;
    // One listener that reads the frames and forwards them costs less than a pipe and a listener.
    client.unpipe(upstream);
    upstream.unpipe(client);
    if (injection === undefined) {
      this.#fromClient = new FrameReader();
      client.on("data", this.#onClientData);
    } else this.#fromClient = this.#readMessages(injection);
    client.on("drain", () => upstream.resume());
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
    this.#isForced = true;
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

  #readMessages({ replace }: MessageInjection): ClientMessages {
    const client = this.#client;
    const { upstream } = this;
    const messages = new ClientMessages({
      replace: (message) => this.#unlessForced(replace(message)),
      send: (bytes) => {
        if (upstream.writable && !upstream.write(bytes)) client.pause();
      },
      fail: (fault) => this.#fail(closeFrame(1002, `invalid frame: ${fault}`)),
    });
    const resume = () => {
      if (!upstream.writableNeedDrain) client.resume();
    };
    client.on("data", (chunk: Buffer) => {
      // The frames of one chunk leave in one write.
      upstream.cork();
      const waiting = messages.read(chunk);
      upstream.uncork();
      if (this.#closeFrame === "sent" && messages.hasSeenClose) this.#endBoth();
      if (waiting === undefined) return;
      client.pause();
      waiting.catch(() => this.#fail(UNAVAILABLE)).then(resume);
    });
    return messages;
  }

  /** After a forced end no message gets the credential. A rejection ends both sides. */
  #unlessForced(replaced: ReturnType<MessageInjection["replace"]>): typeof replaced {
    if (replaced === undefined) return undefined;
    if (!(replaced instanceof Promise)) return this.#isForced ? Promise.reject(new WebSocketOver()) : replaced;
    return replaced.then((message) => {
      if (message !== undefined && this.#isForced) throw new WebSocketOver();
      return message;
    });
  }

  /** Ends both sides after a close frame, without waiting for the client's (RFC 6455 section 7.1.7). */
  #fail(frame: Buffer): void {
    if (this.#closeFrame === "none") this.#closing = frame;
    this.#endsWithClose = true;
    if (this.#closeFrame === "sent") this.#endBoth();
    this.forceClose();
  }

  #sendCloseFrame(): void {
    this.#closeFrame = "sent";
    this.#client.write(this.#closing);
    if (this.#fromClient.hasSeenClose || this.#endsWithClose) this.#endBoth();
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

/** As a server sends it, not masked. @param reason at most 123 bytes. */
function closeFrame(code: number, reason = ""): Buffer {
  const text = Buffer.from(reason);
  return Buffer.concat([Buffer.from([0x88, 2 + text.length, code >> 8, code & 0xff]), text]);
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
