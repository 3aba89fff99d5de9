/**
 * The last exchanges, for `/manage/requests`; also those that the log leaves out.
 * Invariant: an exchange costs one write into an array, because it is masked and formatted only when it is read; the number of
 * exchanges and the characters of their paths are bounded.
 */
import { type AccessLine, clientTextOf } from "./access-line.ts";

export const EXCHANGES_KEPT = 1_000;

/** Of paths and hosts together: a path may have 16 KiB. At least the last exchange is kept. */
const CHARACTERS_KEPT = 4 * 1024 * 1024;

export class RecentExchanges {
  /** A ring: the oldest is at `#oldest`. */
  readonly #lines: (AccessLine | undefined)[];
  #oldest = 0;
  #count = 0;
  #characters = 0;
  readonly #charactersKept: number;

  constructor(kept = EXCHANGES_KEPT, charactersKept = CHARACTERS_KEPT) {
    this.#lines = new Array<AccessLine | undefined>(kept).fill(undefined);
    this.#charactersKept = charactersKept;
  }

  add(line: AccessLine): void {
    const lines = this.#lines;
    if (this.#count === lines.length) this.#dropOldest();
    lines[(this.#oldest + this.#count) % lines.length] = line;
    this.#count++;
    this.#characters += clientTextOf(line);
    while (this.#characters > this.#charactersKept && this.#count > 1) this.#dropOldest();
  }

  *newestFirst(): Generator<AccessLine> {
    for (let i = this.#count - 1; i >= 0; i--) yield this.#lines[(this.#oldest + i) % this.#lines.length] as AccessLine;
  }

  #dropOldest(): void {
    this.#characters -= clientTextOf(this.#lines[this.#oldest] as AccessLine);
    this.#lines[this.#oldest] = undefined;
    this.#oldest = (this.#oldest + 1) % this.#lines.length;
    this.#count--;
  }
}
