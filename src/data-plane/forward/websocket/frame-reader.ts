/**
 * Finds where WebSocket frames begin and end in a stream of bytes (RFC 6455 section 5.2), keeping only its position.
 * Invariant: the result does not depend on how the bytes are cut into chunks.
 */

const CLOSE_OPCODE = 0x8;

/** Two bytes, eight of extended length, four of mask. */
const LONGEST_HEADER = 14;

export class FrameReader {
  /** A close frame has begun. */
  hasSeenClose = false;
  readonly #header = Buffer.alloc(LONGEST_HEADER);
  #headerLength = 0;
  #payloadLeft = 0;

  /** The next byte begins a frame. */
  get isAtBoundary(): boolean {
    return this.#headerLength === 0 && this.#payloadLeft === 0;
  }

  /** @returns the offset after the first frame that ends in this chunk; -1 where none does. */
  read(chunk: Buffer): number {
    if (this.#isOneShortFrame(chunk)) {
      this.hasSeenClose ||= ((chunk[0] as number) & 0x0f) === CLOSE_OPCODE;
      return chunk.length;
    }
    let firstEnd = -1;
    let at = 0;
    while (at < chunk.length) {
      if (this.#payloadLeft > 0) {
        const length = Math.min(this.#payloadLeft, chunk.length - at);
        this.#payloadLeft -= length;
        at += length;
      } else {
        this.#header[this.#headerLength++] = chunk[at++] as number;
        if (this.#headerLength < 2 || this.#headerLength < this.#wholeHeaderLength()) continue;
        this.#startPayload();
      }
      if (this.isAtBoundary && firstEnd === -1) firstEnd = at;
    }
    return firstEnd;
  }

  /** As most chunks are, and then its header need not be copied. */
  #isOneShortFrame(chunk: Buffer): boolean {
    if (!this.isAtBoundary || chunk.length < 2) return false;
    const second = chunk[1] as number;
    const length = second & 0x7f;
    return length < 126 && chunk.length === length + ((second & 0x80) === 0 ? 2 : 6);
  }

  #wholeHeaderLength(): number {
    const second = this.#header[1] as number;
    const length = second & 0x7f;
    return 2 + (length === 126 ? 2 : length === 127 ? 8 : 0) + ((second & 0x80) === 0 ? 0 : 4);
  }

  #startPayload(): void {
    const length = (this.#header[1] as number) & 0x7f;
    if (length === 126) this.#payloadLeft = this.#header.readUInt16BE(2);
    else if (length === 127) this.#payloadLeft = Number(this.#header.readBigUInt64BE(2));
    else this.#payloadLeft = length;
    this.hasSeenClose ||= ((this.#header[0] as number) & 0x0f) === CLOSE_OPCODE;
    this.#headerLength = 0;
  }
}
