/**
 * The client's body on its way to the upstream: constant memory, back-pressure, counted.
 * Invariant: nothing that the upstream's side does to this body destroys the client's request, because the response is sent on
 * the same socket.
 */
import type { IncomingMessage } from "node:http";
import type { BodySink, BodySource } from "./transport/transport-contract.ts";

/** Joined at this number: a client may send each byte as a chunk of its own, and each buffer costs a hundred bytes. */
const CHUNKS_LIMIT = 1_024;

export class RequestBody implements BodySource {
  readonly #req: IncomingMessage;
  readonly #onBytes: (length: number) => void;
  #sink: BodySink | undefined;
  #rejectCollected: ((error: Error) => void) | undefined;
  #canceled: Error | undefined;
  #isComplete = false;
  #isRoom = false;

  /** @param onBytes called with the length of each chunk that the client sent. */
  constructor(req: IncomingMessage, onBytes: (length: number) => void) {
    this.#req = req;
    this.#onBytes = onBytes;
  }

  /** All of it was given to the upstream's connection. */
  get isComplete(): boolean {
    return this.#isComplete;
  }

  /** The upstream could take more than the client has sent. */
  get isStarved(): boolean {
    return this.#isRoom && !this.#isComplete;
  }

  start(sink: BodySink): void {
    this.#sink = sink;
    this.#isRoom = true;
    this.#req.on("data", this.#onData);
    this.#req.once("end", this.#onEnd);
    this.#req.resume();
  }

  resume(): void {
    if (this.#sink === undefined) return;
    this.#isRoom = true;
    this.#req.resume();
  }

  stop(): void {
    this.#sink = undefined;
    this.#req.off("data", this.#onData);
    this.#req.off("end", this.#onEnd);
    // The rest is discarded: a client may read its response only after it has sent everything.
    this.#req.resume();
  }

  /** Resolves to the whole body. @throws the reason given to `cancel`. */
  collect(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    /** Those before are joined. Joining them again would cost the square of the body. */
    let joined = 0;
    return new Promise((resolve, reject) => {
      // A body may be malformed before it is read; its end would never come.
      if (this.#canceled !== undefined) return reject(this.#canceled);
      this.#rejectCollected = reject;
      this.start({
        write: (chunk) => {
          chunks.push(chunk);
          if (chunks.length - joined < CHUNKS_LIMIT) return true;
          chunks.push(Buffer.concat(chunks.splice(joined)));
          joined = chunks.length;
          return true;
        },
        end: () => resolve(Buffer.concat(chunks)),
      });
    });
  }

  cancel(error: Error): void {
    this.#canceled = error;
    this.stop();
    this.#rejectCollected?.(error);
  }

  readonly #onData = (chunk: Buffer): void => {
    // It may cancel the body, if that is over its limit.
    this.#onBytes(chunk.length);
    if (this.#sink === undefined || this.#sink.write(chunk)) return;
    this.#isRoom = false;
    this.#req.pause();
  };

  readonly #onEnd = (): void => {
    this.#isComplete = true;
    this.#sink?.end();
  };
}
