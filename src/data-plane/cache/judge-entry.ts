/**
 * Whether a stored response may be used for a request, now (RFC 9111 section 4).
 * Invariant: nothing is served stale unless the response or the client allows it.
 */
import type { RequestRules } from "./request-rules.ts";
import { ageMsOf, type StoredResponse } from "./stored-response.ts";

export type Judgement =
  | "fresh"
  /** Stale, and the client accepts that. */
  | "stale"
  /** Stale, and used while it is revalidated (RFC 5861 section 3). */
  | "revalidate-behind"
  | "validate";

/** @param now on the monotonic clock, ms. @param alwaysValidates the service asks the upstream each time. */
export function judgeEntry(
  stored: StoredResponse,
  rules: RequestRules,
  now: number,
  alwaysValidates: boolean,
): Judgement {
  if (alwaysValidates || stored.needsValidation || rules.demandsValidation) return "validate";
  const ageMs = ageMsOf(stored, now);
  if (ageMs > rules.maxAgeMs) return "validate";
  const freshMs = stored.freshUntil - now;
  if (freshMs > 0) return freshMs >= rules.minFreshMs ? "fresh" : "validate";
  if (stored.forbidsStale || rules.minFreshMs > 0) return "validate";
  if (isWithin(-freshMs, rules.maxStaleMs)) return "stale";
  return isWithin(-freshMs, stored.staleWhileRevalidateMs) ? "revalidate-behind" : "validate";
}

/** Whether it may be served although the upstream failed (RFC 5861 section 4). */
export function mayServeOnError(stored: StoredResponse, rules: RequestRules, now: number): boolean {
  if (stored.forbidsStale || stored.needsValidation || rules.demandsValidation) return false;
  const staleMs = now - stored.freshUntil;
  return staleMs < 0 || isWithin(staleMs, Math.max(stored.staleIfErrorMs, rules.staleIfErrorMs));
}

/** Nothing is allowed where the limit is 0, not even a response that has become stale just now. */
function isWithin(staleMs: number, limitMs: number): boolean {
  return limitMs > 0 && staleMs <= limitMs;
}
