/**
 * What is to be known of an upstream's limits beyond its headers: data and small pure functions, one file a vendor.
 * Invariant: whatever is not said here is learned from the answers.
 */
import { hash } from "node:crypto";
import type { PaceRule } from "./pace.ts";
import type { QuotaReading } from "./read-quota.ts";
import type { RefusalBudgetRule } from "./refusal-budget.ts";

/** Requests that are counted together as far as can be told before their bucket is known. */
export interface QuotaRoute {
  /** Requests of one route have one bucket. */
  readonly name: string;
  /** Within a bucket, what is counted apart: a channel, a guild. */
  readonly major: string;
}

/** The end of an upstream's patience. */
export interface Closure {
  /** ms since the epoch. */
  readonly until: number;
  /** Of this bucket, or of all that the credential asks for. */
  readonly of: "bucket" | "all";
  /** Nobody told for how long: after another refusal it is longer. */
  readonly isGuess: boolean;
}

export interface QuotaRules {
  readonly routeOf: (method: string, path: string) => QuotaRoute;
  /** Its answers name the buckets: until they have, each route is taken for one of its own. */
  readonly namesBuckets: boolean;
  /** Its documentation says that with a reset all of the limit is there again; elsewhere that has to be seen first. */
  readonly hasFixedWindows: boolean;
  /** Limits over everything that one credential asks for. */
  readonly paces: readonly PaceRule[];
  /** Requests in flight of one credential. */
  readonly maxInFlight: number;
  readonly refusals?: RefusalBudgetRule;
  /** Whether an answer says that nothing more may come for a while. */
  readonly closureOf: (status: number, reading: QuotaReading, now: number) => Closure | undefined;
}

/** Where a 429 does not say for how long. */
const UNTOLD_MS = 1_000;

/** Of any upstream: one bucket, unless its answers name several; a 429 closes it until the time that it tells. */
export const genericRules: QuotaRules = {
  routeOf: (method, path) => ({ name: nameOf(`${method} ${withoutIds(path)}`), major: "" }),
  namesBuckets: false,
  hasFixedWindows: false,
  paces: [],
  maxInFlight: Number.POSITIVE_INFINITY,
  closureOf: (status, reading, now) => (status === 429 ? closureByScope(reading, now) : undefined),
};

/** Of all where the answer says so, else of the bucket. */
export function closureByScope(reading: QuotaReading, now: number): Closure {
  const until = untilOf(reading, now);
  return {
    until: until ?? now + UNTOLD_MS,
    of: reading.scope === "global" ? "all" : "bucket",
    isGuess: until === undefined,
  };
}

/** What `Retry-After` says, else the end of the windows that are used up; undefined where that is not yet to come. */
export function untilOf({ retryAt, windows }: QuotaReading, now: number): number | undefined {
  if (retryAt !== undefined && retryAt > now) return retryAt;
  const ends = windows.flatMap(({ remaining, resetsAt }) => (remaining === 0 && resetsAt > now ? [resetsAt] : []));
  return ends.length === 0 ? undefined : Math.max(...ends);
}

/** In the place of a text that is kept and shown, and may hold a secret: tokens stand in paths, too. */
export function nameOf(text: string): string {
  return hash("sha256", text, "base64url").slice(0, 16);
}

const ID = /^(?:\d+|[0-9a-f]{16,}|[0-9a-f]{8}-[0-9a-f-]{27})$/i;

/** `/users/:id/repos`: ids in a path are no routes of their own. */
function withoutIds(path: string): string {
  return path
    .split("/")
    .map((segment) => (ID.test(segment) ? ":id" : segment))
    .join("/");
}
