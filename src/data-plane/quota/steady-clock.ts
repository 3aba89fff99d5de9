/**
 * Ms since the epoch, for windows that end at a time of day.
 * Invariant: it never goes back. A clock that is set back an hour must not keep a window closed for an hour more; one that is set
 * forward, or a machine that slept, ends windows early, once, and the upstream says so if it sees that otherwise.
 */

/** What a clock is set by at a time when it is only kept right, ms; its rate is kept right in the monotonic one, too. */
const ADJUSTMENT_MS = 1_000;

/** @param wall ms since the epoch. @param monotonic ms since any one moment. */
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
