/**
 * Reads one head, or the trailers of one message, up to the empty line that ends it.
 * Invariant: it copies only a section that arrives in several pieces, and never holds more than the limit.
 */
import { malformed, ResponseSyntaxError } from "./response-syntax-error.ts";

/** Upstream responses may have larger headers than client requests: CSP and Link lists are long. */
export const SECTION_BYTES_LIMIT = 65_536;

const END = Buffer.from("\r\n\r\n");
const LF = 0x0a;
const CR = 0x0d;

export class SectionBuffer {
  #part: Buffer | undefined;
  #length = 0;
  #end = 0;

  /** Where the bytes after the section begin in the bytes of the last call. */
  get end(): number {
    return this.#end;
  }

  /**
   * @param prefix what every such section begins with
   * @returns the section as latin1 with the CRLF of its last line, or undefined if it is not complete yet
   * @throws ResponseSyntaxError
   */
  read(bytes: Buffer, at: number, prefix: string): string | undefined {
    if (this.#length === 0) {
      const end = bytes.indexOf(END, at);
      if (end >= 0 && end + END.length - at <= SECTION_BYTES_LIMIT) {
        this.#end = end + END.length;
        return bytes.toString("latin1", at, end + 2);
      }
    }
    return this.#collect(bytes, at, prefix);
  }

  #collect(bytes: Buffer, at: number, prefix: string): string | undefined {
    const before = this.#length;
    const part = this.#append(bytes, at);
    const end = part.indexOf(END, Math.max(0, before - END.length + 1));
    if (end >= 0) {
      this.#end = at + end + END.length - before;
      this.#part = undefined;
      this.#length = 0;
      return part.toString("latin1", 0, end + 2);
    }
    // Another protocol, or lines that end with LF only, would otherwise keep the request waiting for an empty line.
    if (!prefix.startsWith(part.toString("latin1", 0, prefix.length))) throw malformed("it begins with other bytes");
    for (let lf = part.indexOf(LF, before); lf >= 0; lf = part.indexOf(LF, lf + 1)) {
      if (part[lf - 1] !== CR) throw malformed("a line ends with LF alone");
    }
    if (part.length === SECTION_BYTES_LIMIT) {
      throw new ResponseSyntaxError("UPSTREAM_HEADERS_OVERFLOW", `more than ${SECTION_BYTES_LIMIT} bytes of fields`);
    }
    this.#end = bytes.length;
    return undefined;
  }

  /** @returns all bytes of the section so far, at most as many as the limit. */
  #append(bytes: Buffer, at: number): Buffer {
    const added = Math.min(bytes.length - at, SECTION_BYTES_LIMIT - this.#length);
    const length = this.#length + added;
    if (this.#part === undefined || this.#part.length < length) {
      const larger = Buffer.allocUnsafe(Math.min(SECTION_BYTES_LIMIT, Math.max(1024, 2 * length)));
      this.#part?.copy(larger, 0, 0, this.#length);
      this.#part = larger;
    }
    bytes.copy(this.#part, this.#length, at, at + added);
    this.#length = length;
    return this.#part.subarray(0, length);
  }
}
