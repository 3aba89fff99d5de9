/** What is known of an upstream's limits, for people and checks. Times are ms since the epoch. */
import type { Service } from "../config/schema.ts";

export interface QuotaWindowState {
  /** `requests`, `tokens`, a policy's name; empty where there is only one. */
  readonly name: string;
  readonly limit: number | undefined;
  readonly remaining: number;
  readonly resetsAt: number;
}

export interface QuotaBucketState {
  readonly bucket: string;
  /** Those that are not over. */
  readonly windows: readonly QuotaWindowState[];
  readonly inFlight: number;
  readonly waiting: number;
  readonly closedUntil: number | null;
}

/** Of one credential. */
export interface QuotaState {
  /** Variable or file; `caller` for one of a caller's own; null for requests without one. */
  readonly source: string | null;
  readonly fingerprint: string | null;
  /** Of all its buckets. */
  readonly closedUntil: number | null;
  /** Answers that count towards a ban; null where the upstream has none. */
  readonly refusals: { readonly count: number; readonly limit: number } | null;
  readonly waiting: number;
  readonly inFlight: number;
  readonly buckets: readonly QuotaBucketState[];
}

export interface ServiceQuotaState extends Readonly<Service["quota"]> {
  /** When this was so, by the clock of all its times. */
  readonly at: number;
  /** Answers that were refusals for too many requests, since the start. */
  readonly upstreamRefusals: number;
  /** 0 while there was none. */
  readonly lastRefusalAt: number;
  readonly credentials: readonly QuotaState[];
}

/** Whoever knows it. @see ServiceQuota */
export interface DescribedQuota {
  describe(): ServiceQuotaState;
  /** Forgets it all. */
  reset(): Promise<void>;
}

/** What is the nearest to its end, over all credentials and buckets; null where nothing is known. */
export interface TightestQuota {
  readonly source: string | null;
  readonly bucket: string;
  readonly remaining: number;
  readonly limit: number | null;
  /** When it has room again, or more of it; ms since the epoch. */
  readonly until: number;
}

export function tightestOf({ credentials }: ServiceQuotaState): TightestQuota | null {
  let tightest: TightestQuota | null = null;
  const look = (found: TightestQuota) => {
    const isTighter = tightest === null || found.remaining < tightest.remaining;
    // Of two that are used up the later one.
    if (isTighter || (found.remaining === tightest?.remaining && found.until > tightest.until)) tightest = found;
  };
  const closed = { remaining: 0, limit: null };
  for (const { source, closedUntil, buckets } of credentials) {
    if (closedUntil !== null) look({ source, bucket: "", ...closed, until: closedUntil });
    for (const { bucket, closedUntil: until, windows } of buckets) {
      if (until !== null) look({ source, bucket, ...closed, until });
      for (const { limit = null, remaining, resetsAt } of windows) {
        look({ source, bucket, remaining, limit, until: resetsAt });
      }
    }
  }
  return tightest;
}

export function waitingIn({ credentials }: ServiceQuotaState): number {
  return credentials.reduce((sum, { waiting }) => sum + waiting, 0);
}
