/** Decodes a body in chunks (RFC 9112, section 7.1) without copies, as far as the benchmark needs it: no trailers. */
import type { Part } from "./expect-bytes.ts";

const [LF, CR, SEMICOLON] = [10, 13, 59];
type State = "size" | "extension" | "data" | "after data" | "last line" | "ended";

export class ChunkedBody {
  readonly #onPart: (part: Part) => void;
  #state: State = "size";
  #left = 0;

  /** @param onPart receives the decoded bytes in order. */
  constructor(onPart: (part: Part) => void) {
    this.#onPart = onPart;
  }

  get isEnded(): boolean {
    return this.#state === "ended";
  }

  /** Decodes what follows `from`. @throws if it is not a chunked body. */
  write(buffer: Buffer, from: number): void {
    let at = from;
    while (at < buffer.length) {
      if (this.#state !== "data") {
        this.#onFraming(buffer[at++]!);
        continue;
      }
      const to = Math.min(buffer.length, at + this.#left);
      this.#left -= to - at;
      if (this.#left === 0) this.#state = "after data";
      this.#onPart({ buffer, from: at, to });
      at = to;
    }
  }

  #onFraming(byte: number): void {
    if (byte === CR && this.#state !== "ended") return;
    if (byte === LF) return this.#onLineEnd();
    if (this.#state === "extension") return;
    if (this.#state !== "size") throw new Error(`byte ${byte} is not part of the chunked body`);
    if (byte === SEMICOLON) this.#state = "extension";
    else this.#left = this.#left * 16 + hexDigit(byte);
  }

  #onLineEnd(): void {
    if (this.#state === "ended") throw new Error("bytes after the end of the chunked body");
    if (this.#state === "after data") this.#state = "size";
    else if (this.#state === "last line") this.#state = "ended";
    else this.#state = this.#left === 0 ? "last line" : "data";
  }
}

function hexDigit(byte: number): number {
  const value = Number.parseInt(String.fromCharCode(byte), 16);
  if (Number.isNaN(value)) throw new Error(`byte ${byte} is not a digit of a chunk's size`);
  return value;
}
