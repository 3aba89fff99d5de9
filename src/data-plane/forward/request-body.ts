/**
 * The client's body on its way to the upstream: constant memory, back-pressure, counted.
 * Invariant: nothing that the upstream's side does to this stream destroys the client's request, because the response is sent on
 * the same socket.
 */
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

export class RequestBody extends Readable {
  readonly #req: IncomingMessage;
  readonly #onBytes: (length: number) => void;
  /** The upstream could take more than the client has sent. */
  isStarved = true;
  isComplete = false;

  /** @param onBytes called with the length of each chunk that the client sent. */
  constructor(req: IncomingMessage, onBytes: (length: number) => void) {
    super({ highWaterMark: 65_536, emitClose: true });
    this.#req = req;
    this.#onBytes = onBytes;
    req.on("data", this.#onData);
    req.once("end", this.#onEnd);
    req.pause();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#onBytes(chunk.length);
    if (this.destroyed || this.push(chunk)) return;
    this.isStarved = false;
    this.#req.pause();
  };

  readonly #onEnd = (): void => {
    this.isComplete = true;
    this.isStarved = false;
    if (!this.destroyed) this.push(null);
  };

  override _read(): void {
    this.isStarved = !this.isComplete;
    this.#req.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#req.off("data", this.#onData);
    this.#req.off("end", this.#onEnd);
    callback(error);
  }
}
