/**
 * The client's body on its way to the upstream: constant memory, back-pressure, counted.
 * Invariant: nothing that the upstream's side does to this body destroys the client's request, because the response is sent on
 * the same socket.
 */
import type { IncomingMessage } from "node:http";
import type { BodySink, BodySource } from "./transport/transport-contract.ts";

/** Joined at this number: a client may send each byte as a chunk of its own, and each buffer costs a hundred bytes. */
const CHUNKS_LIMIT = 1_024;

/** Decodes the body on its way. It reports an error itself, and ends the body by that. */
export interface BodyDecoder {
  push(chunk: Buffer): readonly Buffer[];
  /** @returns the rest; undefined for a body that is not whole. */
  end(): Buffer | undefined;
}

export class RequestBody implements BodySource {
  /** Called when a body that was too large to be collected streams: what was held of it was given to the upstream's connection. */
  onHeldSent: (() => void) | undefined;
  readonly #req: IncomingMessage;
  readonly #onBytes: (length: number) => void;
  readonly #decoder: BodyDecoder | undefined;
  /** The start of a body that was too large to be collected. */
  #held: Buffer[] | undefined;
  #sink: BodySink | undefined;
  #rejectCollected: ((error: Error) => void) | undefined;
  #canceled: Error | undefined;
  #isComplete = false;
  #isRoom = false;

  /** @param onBytes called with the length of each chunk that the client sent. */
  constructor(req: IncomingMessage, onBytes: (length: number) => void, decoder?: BodyDecoder) {
    this.#req = req;
    this.#onBytes = onBytes;
    this.#decoder = decoder;
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
    if (this.#held !== undefined) return this.#continue(sink, this.#held);
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
    return this.collectUpTo(Number.POSITIVE_INFINITY) as Promise<Buffer>;
  }

  /**
   * The same for a body that may be larger: then it is paused, resolves to undefined, and `start` sends what was collected first.
   * @param limit bytes.
   */
  collectUpTo(limit: number): Promise<Buffer | undefined> {
    const chunks: Buffer[] = [];
    /** Those before are joined. Joining them again would cost the square of the body. */
    let joined = 0;
    let length = 0;
    return new Promise((resolve, reject) => {
      // A body may be malformed before it is read; its end would never come.
      if (this.#canceled !== undefined) return reject(this.#canceled);
      this.#rejectCollected = reject;
      this.start({
        write: (chunk) => {
          chunks.push(chunk);
          length += chunk.length;
          if (length > limit) {
            this.#held = chunks;
            resolve(undefined);
            return false;
          }
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
    if (this.#sink === undefined) return;
    if (this.#decoder === undefined ? this.#sink.write(chunk) : this.#decode(this.#decoder, chunk)) return;
    this.#isRoom = false;
    this.#req.pause();
  };

  #decode(decoder: BodyDecoder, chunk: Buffer): boolean {
    let isRoom = true;
    for (const part of decoder.push(chunk)) {
      // An error of the decoder, or of the sink, has ended the body.
      if (this.#sink?.write(part) === false) isRoom = false;
    }
    return isRoom;
  }

  /** The request is paused, and its listeners are there. */
  #continue(sink: BodySink, held: readonly Buffer[]): void {
    this.#held = undefined;
    for (const chunk of held) if (this.#sink?.write(chunk) === false) this.#isRoom = false;
    this.onHeldSent?.();
    if (this.#isComplete) sink.end();
    else if (this.#isRoom) this.#req.resume();
  }

  readonly #onEnd = (): void => {
    if (this.#decoder !== undefined) {
      const rest = this.#decoder.end();
      if (rest === undefined) return;
      this.#sink?.write(rest);
    }
    this.#isComplete = true;
    this.#sink?.end();
  };
}
