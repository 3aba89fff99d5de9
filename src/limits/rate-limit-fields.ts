/**
 * The header fields of a limit: the IETF fields (draft-ietf-httpapi-ratelimit-headers-11) on every response, and the older
 * X-RateLimit-* fields on refusals only, because an upstream's own X-RateLimit-* are never overwritten.
 */
import type { LimitState } from "./limit-state.ts";

/** Whole seconds until the window ends, rounded up, so that a caller that waits them is not early. */
export function secondsToReset(state: LimitState): number {
  return Math.max(1, Math.ceil(state.resetMs / 1000));
}

/** `RateLimit-Policy` and `RateLimit`: appended as list members next to the upstream's own. */
export function pushRateLimitFields(headers: string[], state: LimitState): void {
  headers.push(
    "RateLimit-Policy",
    state.policy,
    "RateLimit",
    `"${state.per}";r=${state.remaining};t=${secondsToReset(state)}`,
  );
}

/** All fields of a 429. @param now ms since the epoch. */
export function refusalFields(state: LimitState, now: number): string[] {
  const headers: string[] = ["Retry-After", String(secondsToReset(state))];
  pushRateLimitFields(headers, state);
  headers.push(
    "X-RateLimit-Limit",
    String(state.limit),
    "X-RateLimit-Remaining",
    String(state.remaining),
    "X-RateLimit-Reset",
    String(Math.ceil((now + state.resetMs) / 1000)),
  );
  return headers;
}
