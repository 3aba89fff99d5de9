/**
 * The time for the quota: this process's own clock, and the offset of an upstream's clock from it.
 * Invariant: the own clock never runs backwards, and the offset is never overestimated.
 */
import { LONGEST_TIMER_MS } from "../../config/schema.ts";

export interface QuotaClock {
  /** ms since the epoch. */
  now(): number;
  /** @returns a function that cancels the timer. */
  after(ms: number, run: () => void): () => void;
}

export function createQuotaClock(): QuotaClock {
  return { now: createSteadyClock(), after: startTimer };
}

/** The timer does not keep the process alive: a waiting request does that with its socket. It may fire early; see `CredentialQuota`. */
function startTimer(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, Math.min(Math.ceil(ms), LONGEST_TIMER_MS)).unref();
  return () => clearTimeout(timer);
}

/** No timer is set for longer, ms: Node's overflow at 2^31. */
const LONGEST_WAIT_MS = 3_600_000;

/** Runs not a millisecond early, although timers may, and however far away the time is. @returns a function that cancels it. */
export function runAt(clock: QuotaClock, at: number, run: () => void): () => void {
  const inMs = Math.min(LONGEST_WAIT_MS, Math.max(0, at - clock.now()));
  let stop = clock.after(inMs, () => {
    if (clock.now() >= at) run();
    else stop = runAt(clock, at, run);
  });
  return () => stop();
}

/** A larger step of the wall clock is a correction of the time, not of the clock's rate, ms. */
const ADJUSTMENT_MS = 1_000;

/**
 * Ms since the epoch, for windows that end at a time of day. When the wall clock is set back, this clock continues: otherwise a
 * window would stay closed for that much longer. When the wall clock is set forward or the machine slept, this clock follows:
 * windows may end early once, and the upstream's next response corrects that.
 * @param wall ms since the epoch. @param monotonic ms since any fixed moment.
 */
export function createSteadyClock(
  wall: () => number = () => Date.now(),
  monotonic: () => number = () => performance.now(),
): () => number {
  let offset = wall() - monotonic();
  return () => {
    const elapsed = monotonic();
    const ahead = wall() - elapsed - offset;
    if (ahead > ADJUSTMENT_MS) offset += ahead;
    return Math.floor(elapsed + offset);
  };
}

/** A `Date` header counts for this long, ms: clocks drift, and are set. */
const DATE_VALID_MS = 300_000;

/** `Date` has whole seconds, so it is at most this much behind the upstream's clock, ms. */
const CUT_OFF_MS = 1_000;

/**
 * How far an upstream's clock is ahead of ours, from the `Date` of its responses. `Date` is cut off at the second and spent time
 * in transit, so each response gives a lower bound, and the greatest of the last minutes is the best one.
 */
export class UpstreamClock {
  #greatestMs = Number.NEGATIVE_INFINITY;
  #greatestBeforeMs = Number.NEGATIVE_INFINITY;
  #periodEndsAt = 0;

  /**
   * @param theirs the time in `Date`. @param now when the response arrived; both ms since the epoch.
   * @returns ms, negative when the upstream's clock is behind.
   */
  aheadBy(theirs: number, now: number): number {
    if (now >= this.#periodEndsAt) {
      const isStale = now >= this.#periodEndsAt + DATE_VALID_MS;
      this.#greatestBeforeMs = isStale ? Number.NEGATIVE_INFINITY : this.#greatestMs;
      this.#greatestMs = Number.NEGATIVE_INFINITY;
      this.#periodEndsAt = now + DATE_VALID_MS;
    }
    const leastMs = theirs - now;
    this.#greatestMs = Math.max(this.#greatestMs, leastMs);
    // Another server of the same upstream may have another clock, and either clock may have been set.
    return Math.min(Math.max(this.#greatestMs, this.#greatestBeforeMs), leastMs + CUT_OFF_MS);
  }
}
