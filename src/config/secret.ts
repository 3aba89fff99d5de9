/**
 * A secret that is `***` when it is printed, logged or serialized.
 * Invariant: only `reveal()` returns the text, so that `grep 'reveal('` lists every use.
 */
import { inspect } from "node:util";

export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself: to send it or to hash it, never for a log or an error. */
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
