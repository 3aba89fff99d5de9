/**
 * A secret and its redacted form are one thing: whatever prints, logs or serialises it shows `***`.
 * Invariant: the text comes out through `reveal()` only, so that `grep 'reveal('` lists every use.
 */
import { inspect } from "node:util";

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself: for putting it on the wire or hashing it, never for a log or an error. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return "***";
  }

  toJSON(): string {
    return "***";
  }

  [inspect.custom](): string {
    return "***";
  }
}
