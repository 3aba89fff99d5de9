/**
 * The clocks of the machine, for ages.
 * Invariant: an age never shrinks, and it has the time in which the machine slept, which the monotonic clock of Linux leaves out. A wall
 * clock that is set forward looks the same: then responses are stale early, which is harmless.
 */
import { performance } from "node:perf_hooks";
import type { CacheClock } from "./stored-response.ts";

/** The two clocks drift apart by less, ms. */
const DRIFT_MS = 1_000;

/** @param sources for tests. */
export function createSystemClock(
  sources: CacheClock = { now: () => performance.now(), wallNow: () => Date.now() },
): CacheClock {
  const { now, wallNow } = sources;
  const startedAt = wallNow() - now();
  let sleptMs = 0;
  return {
    now() {
      const monotonic = now();
      const missing = wallNow() - startedAt - monotonic;
      if (missing > sleptMs + DRIFT_MS) sleptMs = missing;
      return monotonic + sleptMs;
    },
    wallNow,
  };
}
