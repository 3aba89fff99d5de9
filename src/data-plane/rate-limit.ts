/** Refuses a request beyond a rate limit of the service or of the caller's key; the limiter has counted it. */
import { GatewayError } from "../errors.ts";
import type { LimitState } from "../limits/limit-state.ts";
import { refusalFields, secondsToReset } from "../limits/rate-limit-fields.ts";
import { plural } from "../plural.ts";

const KEY_HINT = "Wait for the seconds in Retry-After, or ask an operator to raise the `rateLimit` of this key.";
const ISSUER_HINT =
  "Wait for the seconds in Retry-After, or ask an operator for a key of your own. Keys that a key issues share its `rateLimit`.";

/** @param now ms since the epoch. */
export function decideRateLimit(state: LimitState, serviceKey: string, now: number): GatewayError | undefined {
  return state.isExceeded ? refusalOf(state, serviceKey, now) : undefined;
}

/** For the limit of the caller's issued key, or of a key that issued it. @param now ms since the epoch. */
export function decideKeyLimit(state: LimitState, now: number, isOwn: boolean): GatewayError | undefined {
  if (!state.isExceeded) return undefined;
  return isOwn
    ? refusalOf(state, "this key", now, KEY_HINT)
    : refusalOf(state, "the key that issued this one", now, ISSUER_HINT);
}

function refusalOf(state: LimitState, what: string, now: number, hint?: string): GatewayError {
  const seconds = secondsToReset(state);
  return new GatewayError("RATE_LIMIT_EXCEEDED", {
    message: `Rate limit exceeded for ${what}. Resets in ${plural(seconds, "second")}.`,
    headers: refusalFields(state, now),
    hint,
  });
}
