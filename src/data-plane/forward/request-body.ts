/**
 * The client's body on its way to the upstream: constant memory, back-pressure, counted.
 * Invariant: whatever the upstream's side does to this stream, the client's request is not destroyed by it,
 * because the answer still has to go out on the same socket.
 */
import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";

export interface BodyWatcher {
  onBodyBytes(length: number): void;
}

export class RequestBody extends Readable {
  readonly #req: IncomingMessage;
  readonly #watcher: BodyWatcher;
  /** The upstream takes more, and the client has not sent it yet. */
  isStarved = true;
  isComplete = false;

  constructor(req: IncomingMessage, watcher: BodyWatcher) {
    super({ highWaterMark: 65_536, emitClose: true });
    this.#req = req;
    this.#watcher = watcher;
    req.on("data", this.#onData);
    req.once("end", this.#onEnd);
    req.pause();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#watcher.onBodyBytes(chunk.length);
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
