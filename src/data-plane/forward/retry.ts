/** When an attempt may be made again, and after how long. Pure: times and chance come in as arguments. */
import type { AnswerHeaders } from "./transport.ts";

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** Answers that say "not now" rather than "no". */
const RETRIABLE_STATUS: ReadonlySet<number> = new Set([502, 503, 504]);

/** First back-off, ms; it doubles with each retry. */
const BACKOFF_MS = 100;
const BACKOFF_LIMIT_MS = 5_000;

/** Largest body that is taken in hand before it is sent, so that the request can be sent again. */
export const REPLAY_BODY_BYTES_LIMIT = 65_536;

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

export function isRetriableStatus(status: number): boolean {
  return RETRIABLE_STATUS.has(status);
}

/** Full jitter: anything from 0 to the doubling back-off. @param chance from 0 to 1. */
export function backoffMs(retry: number, chance: number): number {
  return Math.floor(chance * Math.min(BACKOFF_LIMIT_MS, BACKOFF_MS * 2 ** retry));
}

/**
 * ms that an answer asks to wait: `retry-after-ms`, else `Retry-After`, seconds or a date (RFC 9110 section 10.2.3).
 * Undefined when it says nothing readable. @param now ms since the epoch.
 */
export function retryAfterMs(headers: AnswerHeaders, now: number): number | undefined {
  const milliseconds = headers["retry-after-ms"];
  if (typeof milliseconds === "string" && /^\d+(\.\d+)?$/.test(milliseconds)) return Number(milliseconds);
  const value = headers["retry-after"];
  if (typeof value !== "string") return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  // Date.parse reads "-1" as a year; every form of an HTTP date names its month.
  const date = /[A-Za-z]{3}/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}
