/** Whether and when an attempt is repeated. Times and chance are arguments. */
import type { GatewayError } from "../../errors.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";

/** RFC 9110 section 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

/** Statuses that say "not now" rather than "no". */
const RETRIABLE_STATUS: ReadonlySet<number> = new Set([502, 503, 504]);

/** First back-off, ms; it doubles with each retry. */
const BACKOFF_MS = 100;
const BACKOFF_LIMIT_MS = 5_000;

/** The largest body that is buffered before it is sent, so that the request can be sent again. */
export const REPLAY_BODY_BYTES_LIMIT = 65_536;

export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

export function isRetriableStatus(status: number): boolean {
  return RETRIABLE_STATUS.has(status);
}

/** Another attempt would end in the same way. */
export function isFinal({ code }: Pick<GatewayError, "code">): boolean {
  return code === "INTERNAL_ERROR" || code === "EGRESS_NOT_ALLOWED" || code === "HEADERS_TOO_LARGE";
}

/** Full jitter: anything from 0 to the doubling back-off. @param chance from 0 to 1. */
export function backoffMs(retry: number, chance: number): number {
  return Math.floor(chance * Math.min(BACKOFF_LIMIT_MS, BACKOFF_MS * 2 ** retry));
}

/**
 * The wait that a response asks for, in ms: `retry-after-ms`, else `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
 * Undefined where neither is readable. @param now ms since the epoch.
 */
export function retryAfterMs(headers: ResponseHeaders, now: number): number | undefined {
  const milliseconds = headers["retry-after-ms"];
  if (typeof milliseconds === "string" && /^\d+(\.\d+)?$/.test(milliseconds)) return Number(milliseconds);
  const value = headers["retry-after"];
  if (typeof value !== "string") return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  // Date.parse reads "-1" as a year; every form of an HTTP date names its month.
  const date = /[A-Za-z]{3}/.test(value) ? Date.parse(value) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

const BUDGET_RESERVE = 10;
const BUDGET_PER_REQUEST = 0.5;

/**
 * The retries that a service may make: each request adds half a retry, each retry costs one.
 * Invariant: attempts are at most 1.5 times the requests, plus ten. So retries never double the load on an upstream that fails,
 * and a single request still gets all of its own.
 */
export class RetryBudget {
  /** Retries that the budget prevented since the start. */
  withheld = 0;
  #left = BUDGET_RESERVE;

  /** Called for each first attempt. */
  deposit(): void {
    if (this.#left < BUDGET_RESERVE) this.#left += BUDGET_PER_REQUEST;
  }

  /** Pays for a retry. @returns false where it must not be made. */
  take(): boolean {
    if (this.#left < 1) {
      this.withheld++;
      return false;
    }
    this.#left--;
    return true;
  }
}
