/**
 * The path of one request, as permissions judge it.
 * Invariant: it is read once, and matched with each pattern once, however many methods and permissions ask; and the time of all
 * matches together is bounded. A path that would need more is matched by no pattern.
 */
import type { PathPattern, Work } from "./path-pattern.ts";
import { type Reading, readingsOf } from "./path-readings.ts";

/** Segments compared: a thousand times what a usual request needs, and less than two milliseconds. */
const WORK_LIMIT = 50_000;

export class JudgedPath {
  readonly text: string;
  readonly #work: Work = { left: WORK_LIMIT };
  #readings: readonly Reading[] | null | undefined;
  /** For each pattern, whether it matches the reading at an index. */
  #known: Map<PathPattern, (boolean | undefined)[]> | undefined;

  /** @param text after the service's base URL, encoded as it is sent, without the query. */
  constructor(text: string) {
    this.text = text;
  }

  /** True if every reading is matched, each by some pattern. */
  isMatchedBy(patterns: readonly PathPattern[]): boolean {
    this.#readings ??= readingsOf(this.text) ?? null;
    if (this.#readings === null) return false;
    return this.#readings.every((reading, index) => patterns.some((pattern) => this.#matches(pattern, reading, index)));
  }

  #matches(pattern: PathPattern, reading: Reading, index: number): boolean {
    this.#known ??= new Map();
    let known = this.#known.get(pattern);
    if (known === undefined) {
      known = [];
      this.#known.set(pattern, known);
    }
    known[index] ??= pattern.matches(reading, this.#work);
    return known[index] as boolean;
  }
}
