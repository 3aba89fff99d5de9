/** What our own limit of a service says: the limiter spends the point, this decides what its answer means. */
import { GatewayError } from "../errors.ts";
import type { LimitState } from "../limits/limiters.ts";
import { refusalFields, secondsToReset } from "../limits/rate-limit-fields.ts";

/** The refusal of a state that is exceeded. @param what the limit is of: a service's key, or `this key`. @param now ms since the epoch. */
export function decideRateLimit(state: LimitState, what: string, now: number): GatewayError | undefined {
  if (!state.isExceeded) return undefined;
  const seconds = secondsToReset(state);
  return new GatewayError("RATE_LIMIT_EXCEEDED", {
    message: `Rate limit exceeded for ${what}. Resets in ${seconds} second${seconds === 1 ? "" : "s"}.`,
    headers: refusalFields(state, now),
  });
}
