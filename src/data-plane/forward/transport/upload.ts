/**
 * Writes the body of a request to its socket, with its framing (RFC 9112 sections 6.2 and 7.1).
 * Invariant: a chunk leaves with its CRLF as soon as it arrives, and a body never has another length than was announced.
 */
import type { Socket } from "node:net";
import type { BodySink } from "./transport-contract.ts";

/** Up to this many bytes, one copy costs less than three buffers in one write. */
const COPY_BYTES_LIMIT = 4_096;

export class Upload implements BodySink {
  /** The body was written to its end. */
  isComplete = false;
  readonly #socket: Socket;
  readonly #onMismatch: (error: Error) => void;
  /** Bytes of the announced length; undefined for chunks. */
  #left: number | undefined;

  constructor(socket: Socket, contentLength: number | undefined, onMismatch: (error: Error) => void) {
    this.#socket = socket;
    this.#left = contentLength;
    this.#onMismatch = onMismatch;
  }

  write(chunk: Buffer): boolean {
    // A chunk without bytes would end the body.
    if (chunk.length === 0) return true;
    if (this.#left === undefined) return this.#writeChunk(chunk);
    this.#left -= chunk.length;
    if (this.#left >= 0) return this.#socket.write(chunk);
    this.#onMismatch(new Error("the request body is longer than announced"));
    return false;
  }

  end(): void {
    if (this.#left === undefined) this.#socket.write("0\r\n\r\n", "latin1");
    else if (this.#left > 0) return this.#onMismatch(new Error("the request body is shorter than announced"));
    this.isComplete = true;
  }

  #writeChunk(chunk: Buffer): boolean {
    const socket = this.#socket;
    const size = `${chunk.length.toString(16)}\r\n`;
    if (chunk.length <= COPY_BYTES_LIMIT) {
      const framed = Buffer.allocUnsafe(size.length + chunk.length + 2);
      framed.write(size, 0, "latin1");
      framed.set(chunk, size.length);
      framed.write("\r\n", size.length + chunk.length, "latin1");
      return socket.write(framed);
    }
    socket.cork();
    socket.write(size, "latin1");
    socket.write(chunk);
    const isRoom = socket.write("\r\n", "latin1");
    socket.uncork();
    return isRoom;
  }
}
