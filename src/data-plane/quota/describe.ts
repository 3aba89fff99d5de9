/** What is known of a credential's quota, for `/manage/quota`, `/status` and checks. Idle buckets are left out. */

import type { Bucket } from "./bucket.ts";
import type { Gates } from "./gates.ts";
import type { QuotaBucketState, QuotaState } from "./quota-state.ts";

export interface CredentialQuotaState extends Pick<QuotaState, "closedUntil" | "waiting" | "inFlight" | "buckets"> {
  /** Responses that count towards a ban; undefined when the upstream has none. */
  readonly refusals: number | undefined;
}

/** @param now ms since the epoch. */
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
