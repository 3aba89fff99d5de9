/**
 * Masks the secrets of one body while it passes.
 * Invariant: a byte leaves only when it is known to be no part of a secret, or as `*`; and only bytes that may be the beginning of
 * one are held, until the next bytes or the end of the body decide. No timer releases them: an upstream that pauses inside a
 * secret would get its first half through.
 */
import type { Scanner } from "./scanner.ts";

const ASTERISK = 0x2a;
const NO_BYTES = Buffer.alloc(0);

export class BodyStream {
  readonly #scanner: () => Scanner | undefined;
  /** As received; its own copy. */
  #held = NO_BYTES;
  /** Of the held bytes, how many belong to a copy that began before them. */
  #masked = 0;
  /** Start and end of each copy in turn. */
  readonly #spans: number[] = [];

  /** @param scanner the current one: secrets may be renewed while the body streams. Once there is one, it stays. */
  constructor(scanner: () => Scanner | undefined) {
    this.#scanner = scanner;
  }

  /** @param chunk is changed in place. @returns what may leave; perhaps nothing. */
  push(chunk: Buffer): Buffer {
    return this.#pass(chunk, false);
  }

  /** @returns the rest of the body. */
  end(last: Buffer): Buffer {
    return this.#pass(last, true);
  }

  #pass(chunk: Buffer, isLast: boolean): Buffer {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const spans = this.#spans;
    spans.length = 0;
    const end = this.#scanner()?.scan(bytes, isLast, spans) ?? bytes.length;
    // Copied before anything is masked: the next bytes are searched together with what was received.
    this.#held = end === bytes.length ? NO_BYTES : Buffer.from(bytes.subarray(end));
    let maskedTo = this.#masked;
    if (maskedTo > 0) bytes.fill(ASTERISK, 0, Math.min(maskedTo, end));
    for (let i = 0; i < spans.length; i += 2) {
      const [from, to] = [spans[i] as number, spans[i + 1] as number];
      bytes.fill(ASTERISK, from, Math.min(to, end));
      maskedTo = Math.max(maskedTo, to);
    }
    this.#masked = Math.max(0, maskedTo - end);
    return end === bytes.length ? bytes : bytes.subarray(0, end);
  }
}
