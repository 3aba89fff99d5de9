/**
 * What is known of an upstream's limits beyond its headers: data and small pure functions, one file per vendor.
 * Invariant: everything that the rules leave open is learned from the responses.
 */
import { hash } from "node:crypto";
import type { PaceRule, RefusalBudgetRule } from "./paces.ts";
import type { QuotaReading } from "./read-quota.ts";

/** Requests that are counted together until a response names their bucket. */
export interface QuotaRoute {
  /** Requests of one route have one bucket. */
  readonly name: string;
  /** Counted separately within a bucket: a channel, a guild. */
  readonly major: string;
}

/** The upstream accepts no request until a given time. */
export interface Closure {
  /** ms since the epoch. */
  readonly until: number;
  /** This bucket, or all requests with the credential. */
  readonly of: "bucket" | "all";
  /** The response gave no time; each further refusal makes the closure longer. */
  readonly isGuess: boolean;
}

/** A response as far as the quota reads it. */
export interface QuotaResponse {
  readonly status: number;
  readonly reading: QuotaReading;
  /** Set when the upstream refused the request for its limits. */
  readonly closure: Closure | undefined;
}

export interface QuotaRules {
  readonly routeOf: (method: string, path: string) => QuotaRoute;
  /** Its responses name the buckets. Until one does, each route is assumed to have its own. */
  readonly namesBuckets: boolean;
  /** Its documentation says that a reset restores the whole limit; otherwise that has to be observed first. */
  readonly hasFixedWindows: boolean;
  /** Limits over all requests with one credential. */
  readonly paces: readonly PaceRule[];
  /** Requests in flight with one credential. */
  readonly maxInFlight: number;
  readonly refusals?: RefusalBudgetRule;
  /** No time in a response counts beyond this, ms, unless the service sets `maxHoldMs`: the vendor has no longer window. */
  readonly longestHoldMs: number;
  /** One request a minute finds out whether a long hold still holds; false where the vendor demands that clients wait. */
  readonly triesLongHolds: boolean;
  /** Undefined unless the response forbids further requests for a while. */
  readonly closureOf: (status: number, reading: QuotaReading, now: number) => Closure | undefined;
}

/** The closure after a 429 that gives no time, ms. */
const DEFAULT_CLOSURE_MS = 1_000;

/** `longestHoldMs` where no documentation says otherwise. */
export const DAY_MS = 86_400_000;

/** For any upstream: one bucket, unless its responses name several; a 429 closes it until the time given. */
export const genericRules: QuotaRules = {
  routeOf: (method, path) => ({ name: hashedName(`${method} ${withoutIds(path)}`), major: "" }),
  namesBuckets: false,
  hasFixedWindows: false,
  paces: [],
  maxInFlight: Number.POSITIVE_INFINITY,
  longestHoldMs: DAY_MS,
  triesLongHolds: true,
  closureOf: (status, reading, now) => (status === 429 ? closureByScope(reading, now) : undefined),
};

/** Closes everything if the response says so, otherwise the bucket. */
export function closureByScope(reading: QuotaReading, now: number): Closure {
  const until = untilOf(reading, now);
  return {
    until: until ?? now + DEFAULT_CLOSURE_MS,
    of: reading.scope === "global" ? "all" : "bucket",
    isGuess: until === undefined,
  };
}

/** `Retry-After`, else the latest end of the exhausted windows; undefined when neither is in the future. */
export function untilOf({ retryAt, windows }: QuotaReading, now: number): number | undefined {
  if (retryAt !== undefined && retryAt > now) return retryAt;
  let until: number | undefined;
  for (const { remaining, resetsAt } of windows) {
    if (remaining === 0 && resetsAt > now) until = Math.max(until ?? 0, resetsAt);
  }
  return until;
}

/** Hides a text that is stored and shown, and may hold a secret: paths can contain tokens. */
export function hashedName(text: string): string {
  return hash("sha256", text, "base64url").slice(0, 16);
}

const ID = /^(?:\d+|[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f-]{27})$/i;

/** `/users/:id/repos`: requests that differ only in an id have the same route. */
function withoutIds(path: string): string {
  return path
    .split("/")
    .map((segment) => (ID.test(segment) ? ":id" : segment))
    .join("/");
}
