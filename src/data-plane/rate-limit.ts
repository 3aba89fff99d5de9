/** What our own limits of a service and of a key say: the limiter spends the point, this decides what its answer means. */
import { GatewayError } from "../errors.ts";
import type { LimitState } from "../limits/limiters.ts";
import { refusalFields, secondsToReset } from "../limits/rate-limit-fields.ts";
import { plural } from "../plural.ts";

const KEY_HINT =
  "Wait for the seconds in Retry-After, or ask whoever issues keys for a higher `rateLimit` of this one.";

/** The refusal of a service's limit that is exceeded. @param now ms since the epoch. */
export function decideRateLimit(state: LimitState, serviceKey: string, now: number): GatewayError | undefined {
  return state.isExceeded ? refusalOf(state, serviceKey, now) : undefined;
}

/** The same of the limit that the caller's own key bears. */
export function decideKeyLimit(state: LimitState, now: number): GatewayError | undefined {
  return state.isExceeded ? refusalOf(state, "this key", now, KEY_HINT) : undefined;
}

function refusalOf(state: LimitState, what: string, now: number, hint?: string): GatewayError {
  const seconds = secondsToReset(state);
  return new GatewayError("RATE_LIMIT_EXCEEDED", {
    message: `Rate limit exceeded for ${what}. Resets in ${plural(seconds, "second")}.`,
    headers: refusalFields(state, now),
    hint,
  });
}
