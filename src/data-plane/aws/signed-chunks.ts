/**
 * Decodes a body in chunks with a signature each (`Content-Encoding: aws-chunked`), as it arrives.
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
 * Invariant: the bytes of a chunk are passed on as they arrive, and nothing else is. Only the last byte waits for the end of the last
 * chunk, so that a malformed body is never whole for the upstream. The signatures are the caller's own and are not checked.
 */

/** A chunk's head, and the trailers after the last chunk. */
const LINE_LIMIT = 4_096;
const TRAILERS_LIMIT = 16_384;

/** Buffers for the bytes of one read. */
const PARTS_LIMIT = 16;

const HEAD = /^([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e]*)?$/;

type State = "head" | "data" | "data-end" | "trailers" | "over";

const NOTHING = Buffer.alloc(0);

const CR = 13;
const LF = 10;

export class SignedChunks {
  readonly #announced: number;
  #state: State = "head";
  #line = "";
  /** Of the current chunk. */
  #left = 0;
  #total = 0;
  #trailerBytes = 0;
  /** The last trailer ended with LF only. */
  #isTrailerOpen = false;
  #last: Buffer = NOTHING;

  /** @param announced bytes of the decoded body: `X-Amz-Decoded-Content-Length`. */
  constructor(announced: number) {
    this.#announced = announced;
  }

  /** @returns the decoded bytes, in few buffers. @throws Error with what is wrong, as "a chunk …". */
  push(bytes: Buffer): readonly Buffer[] {
    const decoded = this.#decode(bytes);
    // A client may send each byte as a chunk of its own, and each buffer costs a system call.
    return decoded.length > PARTS_LIMIT ? [Buffer.concat(decoded)] : decoded;
  }

  #decode(bytes: Buffer): Buffer[] {
    const decoded: Buffer[] = [];
    let at = 0;
    while (at < bytes.length) {
      if (this.#state === "over") throw new Error("bytes after the last chunk");
      if (this.#state !== "data") {
        at = this.#readLine(bytes, at);
        continue;
      }
      const part = bytes.subarray(at, at + this.#left);
      at += part.length;
      this.#left -= part.length;
      decoded.push(part);
      if (this.#left > 0) continue;
      this.#state = "data-end";
      if (this.#total < this.#announced) continue;
      decoded[decoded.length - 1] = part.subarray(0, -1);
      this.#last = part.subarray(-1);
    }
    return decoded;
  }

  /** @returns the last byte. @throws Error where the body ended too early. */
  end(): Buffer {
    // Some clients leave out the empty line after the last chunk.
    const isOver = this.#state === "over" || (this.#state === "trailers" && this.#line === "");
    if (!isOver) throw new Error("an end before the last chunk");
    if (this.#total !== this.#announced) {
      throw new Error(`${this.#total} bytes, and X-Amz-Decoded-Content-Length announced ${this.#announced}`);
    }
    return this.#last;
  }

  /** @returns the position after the line, or the end of the bytes. */
  #readLine(bytes: Buffer, from: number): number {
    const end = bytes.indexOf(LF, from);
    this.#line += bytes.toString("latin1", from, end === -1 ? bytes.length : end);
    if (this.#line.length > LINE_LIMIT) throw new Error(`a line of more than ${LINE_LIMIT} bytes`);
    if (end === -1) return bytes.length;
    const hasCr = this.#line.charCodeAt(this.#line.length - 1) === CR;
    if (!hasCr && this.#state !== "trailers") throw new Error("a line that does not end with CR LF");
    const line = hasCr ? this.#line.slice(0, -1) : this.#line;
    this.#line = "";
    if (this.#state === "trailers") this.#onTrailer(line, hasCr);
    else this.#onLine(line);
    return end + 1;
  }

  #onLine(line: string): void {
    if (this.#state === "head") return this.#onHead(line);
    if (this.#state === "data-end") {
      if (line !== "") throw new Error("a chunk that is longer than its head says");
      this.#state = "head";
    }
  }

  /** minio-go ends a trailer with LF CR LF: that is the end of its line, not an empty line. */
  #onTrailer(line: string, hasCr: boolean): void {
    this.#trailerBytes += line.length;
    if (this.#trailerBytes > TRAILERS_LIMIT) throw new Error(`more than ${TRAILERS_LIMIT} bytes of trailers`);
    if (line === "" && !this.#isTrailerOpen) this.#state = "over";
    this.#isTrailerOpen = line !== "" && !hasCr;
  }

  #onHead(line: string): void {
    const size = HEAD.exec(line)?.[1];
    if (size === undefined) throw new Error("a chunk without its length in hexadecimal");
    this.#left = Number.parseInt(size, 16);
    this.#total += this.#left;
    if (this.#total > this.#announced) {
      throw new Error(`more bytes than the ${this.#announced} that X-Amz-Decoded-Content-Length announced`);
    }
    this.#state = this.#left === 0 ? "trailers" : "data";
  }
}
