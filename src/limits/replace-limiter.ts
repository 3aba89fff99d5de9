/**
 * The limiter of a service whose definition was read again.
 * Invariant: a limit that counts as before keeps its counts, and no waiting request is lost: those that waited for a limit that changed
 * wait for the new one, and are sent where there is none.
 */
import type { RateLimit } from "../config/rate-limit-schema.ts";
import { createLimiter, type Limiter, type SharedLimit } from "./limiters.ts";

interface Limited {
  readonly rateLimit: RateLimit | undefined;
  readonly limiter: Limiter | undefined;
}

/** @returns undefined for a service without a limit of ours. @param shared undefined for a limit of this process alone. */
export function replaceLimiter(
  rateLimit: RateLimit | undefined,
  old: Limited | undefined,
  shared?: SharedLimit,
): Limiter | undefined {
  if (rateLimit === undefined) {
    old?.limiter?.queue?.release();
    return undefined;
  }
  if (old?.limiter !== undefined && isCountedAlike(old.rateLimit, rateLimit)) {
    old.limiter.configure(rateLimit);
    return old.limiter;
  }
  const limiter = createLimiter(rateLimit, shared);
  const waiting = old?.limiter?.queue;
  if (waiting !== undefined && waiting.size > 0) limiter.takeOver(waiting);
  return limiter;
}

function isCountedAlike(before: RateLimit | undefined, now: RateLimit): boolean {
  return before?.maxRequests === now.maxRequests && before.windowMs === now.windowMs && before.per === now.per;
}
