/**
 * How far an upstream's clock is ahead of ours, from the `Date` of its answers.
 * Invariant: never more than it is, so that no time of its clock is taken for too early a one of ours. A `Date` is cut off at the second
 * and took its time to get here; the answer that was written just behind a second's turn tells the most, so the greatest counts.
 */

/** For so long an answer counts, ms: clocks drift, and are set. */
const KEPT_MS = 300_000;

/** A `Date` is at most so much behind the clock that it was read from, ms. */
const CUT_OFF_MS = 1_000;

export class UpstreamClock {
  #greatestMs = Number.NEGATIVE_INFINITY;
  #greatestBeforeMs = Number.NEGATIVE_INFINITY;
  #turnsAt = 0;

  /** @param theirs what `Date` says. @param now when the answer came; both ms since the epoch. @returns ms, negative where it is behind. */
  aheadBy(theirs: number, now: number): number {
    if (now >= this.#turnsAt) {
      this.#greatestBeforeMs = now >= this.#turnsAt + KEPT_MS ? Number.NEGATIVE_INFINITY : this.#greatestMs;
      this.#greatestMs = Number.NEGATIVE_INFINITY;
      this.#turnsAt = now + KEPT_MS;
    }
    const leastMs = theirs - now;
    this.#greatestMs = Math.max(this.#greatestMs, leastMs);
    // Another server of the same upstream may have another clock, and either clock may have been set.
    return Math.min(Math.max(this.#greatestMs, this.#greatestBeforeMs), leastMs + CUT_OFF_MS);
  }
}
