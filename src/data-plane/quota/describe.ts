/**
 * What is known of an upstream's limits, for `/manage/quota`, `/status`, metrics and checks. Idle buckets are left out. Times are ms since
 * the epoch.
 */
import type { Service } from "../../config/schema.ts";
import type { Bucket } from "./bucket.ts";
import type { Gates } from "./gates.ts";

export interface QuotaWindowState {
  /** `requests`, `tokens`, a policy's name; empty for an upstream with only one. */
  readonly name: string;
  readonly limit: number | undefined;
  readonly remaining: number;
  readonly resetsAt: number;
}

export interface QuotaBucketState {
  readonly bucket: string;
  /** Those that have not ended. */
  readonly windows: readonly QuotaWindowState[];
  readonly inFlight: number;
  readonly waiting: number;
  readonly closedUntil: number | null;
}

/** Of one credential. */
export interface QuotaState {
  /** Variable or file; `caller` for a credential that the caller sends; null for requests without one. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  /** Of all its buckets. */
  readonly closedUntil: number | null;
  /** Responses that count towards a ban; null if the upstream has none. */
  readonly refusals: { readonly count: number; readonly limit: number } | null;
  readonly waiting: number;
  readonly inFlight: number;
  readonly buckets: readonly QuotaBucketState[];
}

export interface TightestQuota {
  readonly source: string | null;
  readonly bucket: string;
  readonly remaining: number;
  readonly limit: number | null;
  /** When more is allowed again; ms since the epoch. */
  readonly until: number;
}

export interface ServiceQuotaState extends Readonly<Service["quota"]> {
  /** No time in a response counts beyond this, ms. */
  readonly maxHoldMs: number;
  /** The time of this state, by the same clock as all other times in it. */
  readonly at: number;
  /** Responses that refused a request as one too many, since the start. */
  readonly upstreamRefusals: number;
  /** 0 if there was none. */
  readonly lastRefusalAt: number;
  readonly credentials: readonly QuotaState[];
  /** Requests that wait, over all credentials. */
  readonly waiting: number;
  /** What is used up first, over all credentials and buckets; null if nothing is known. */
  readonly tightest: TightestQuota | null;
}

/** @see ServiceQuota */
export interface DescribedQuota {
  describe(): ServiceQuotaState;
  /** Forgets what was learned. */
  reset(): Promise<void>;
}

export interface CredentialQuotaState extends Pick<QuotaState, "closedUntil" | "waiting" | "inFlight" | "buckets"> {
  /** Responses that count towards a ban; undefined when the upstream has none. */
  readonly refusals: number | undefined;
}

export function describeQuota(
  buckets: Iterable<Bucket>,
  gates: Gates,
  waiting: number,
  now: number,
): CredentialQuotaState {
  const states: QuotaBucketState[] = [];
  for (const bucket of buckets) if (!bucket.isIdle(now)) states.push(describeBucket(bucket, now));
  return {
    closedUntil: ifFuture(gates.closedUntil, now),
    refusals: gates.refusals(now),
    waiting,
    inFlight: gates.inFlight,
    buckets: states,
  };
}

function describeBucket(bucket: Bucket, now: number): QuotaBucketState {
  const windows = [...bucket.windows].filter((window) => window.isKnown(now));
  return {
    bucket: bucket.key,
    windows: windows.map((window) => ({
      name: window.name,
      limit: window.limit,
      remaining: window.remainingAt(now),
      resetsAt: window.resetsAt,
    })),
    inFlight: bucket.inFlight,
    waiting: bucket.waiting,
    closedUntil: ifFuture(bucket.closedUntil, now),
  };
}

const ifFuture = (at: number, now: number) => (at > now ? at : null);

export function tightestOf(credentials: readonly QuotaState[]): TightestQuota | null {
  let tightest: TightestQuota | null = null;
  const compare = (found: TightestQuota) => {
    const isTighter = tightest === null || found.remaining < tightest.remaining;
    // Of two that are used up, the one that resets later.
    if (isTighter || (found.remaining === tightest?.remaining && found.until > tightest.until)) tightest = found;
  };
  const closed = { remaining: 0, limit: null };
  for (const { source, closedUntil, buckets } of credentials) {
    if (closedUntil !== null) compare({ source, bucket: "", ...closed, until: closedUntil });
    for (const { bucket, closedUntil: until, windows } of buckets) {
      if (until !== null) compare({ source, bucket, ...closed, until });
      for (const { limit = null, remaining, resetsAt } of windows) {
        compare({ source, bucket, remaining, limit, until: resetsAt });
      }
    }
  }
  return tightest;
}

/** Of a pool, what its best credential has left counts; null as long as one has no known limit. */
export function loosestOf(credentials: readonly QuotaState[]): TightestQuota | null {
  let loosest: TightestQuota | null = null;
  for (const each of credentials) {
    const tightest = tightestOf([each]);
    if (tightest === null) return null;
    if (loosest === null || tightest.remaining > loosest.remaining) loosest = tightest;
    else if (tightest.remaining === loosest.remaining && tightest.until < loosest.until) loosest = tightest;
  }
  return loosest;
}

export function waitingIn(credentials: readonly QuotaState[]): number {
  return credentials.reduce((sum, { waiting }) => sum + waiting, 0);
}
