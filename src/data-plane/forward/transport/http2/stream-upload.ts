/**
 * Writes the body of a request to its stream.
 * Invariant: a body never has another length than was announced.
 */
import type { ClientHttp2Stream } from "node:http2";
import type { BodySink } from "../transport-contract.ts";

export class StreamUpload implements BodySink {
  /** The body was written to its end. */
  isComplete = false;
  readonly #stream: ClientHttp2Stream;
  readonly #onMismatch: (error: Error) => void;
  /** Bytes of the announced length; undefined if none was announced. */
  #left: number | undefined;

  constructor(stream: ClientHttp2Stream, contentLength: number | undefined, onMismatch: (error: Error) => void) {
    this.#stream = stream;
    this.#left = contentLength;
    this.#onMismatch = onMismatch;
  }

  write(chunk: Buffer): boolean {
    if (chunk.length === 0) return true;
    if (this.#left !== undefined) {
      this.#left -= chunk.length;
      if (this.#left < 0) {
        this.#onMismatch(new Error("the request body is longer than announced"));
        return false;
      }
    }
    return this.#stream.write(chunk);
  }

  end(): void {
    if (this.#left !== undefined && this.#left > 0) {
      return this.#onMismatch(new Error("the request body is shorter than announced"));
    }
    this.isComplete = true;
    this.#stream.end();
  }
}
