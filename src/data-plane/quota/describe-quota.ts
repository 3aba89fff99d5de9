/** What is known of a credential's quota, for whoever looks at it: only what has something to say. */
import type { Bucket } from "./bucket.ts";
import type { Gates } from "./gates.ts";
import type { Waiting } from "./waiting-room.ts";

export interface BucketState {
  readonly bucket: string;
  /** Those that are not over; `resetsAt` in ms since the epoch. */
  readonly windows: readonly {
    readonly name: string;
    readonly limit: number;
    readonly remaining: number;
    readonly resetsAt: number;
  }[];
  readonly inFlight: number;
  readonly waiting: number;
  /** ms since the epoch. */
  readonly closedUntil: number | null;
}

export interface CredentialQuotaState {
  /** ms since the epoch. */
  readonly closedUntil: number | null;
  /** Answers that count towards a ban, where the upstream has one. */
  readonly refusals: number | undefined;
  readonly waiting: number;
  readonly inFlight: number;
  readonly buckets: readonly BucketState[];
}

/** @param now ms since the epoch. */
export function describeQuota(
  buckets: Iterable<Bucket<Waiting>>,
  gates: Gates,
  waiting: number,
  now: number,
): CredentialQuotaState {
  const states: BucketState[] = [];
  for (const bucket of buckets) if (!bucket.isIdle(now)) states.push(describeBucket(bucket, now));
  return {
    closedUntil: ifToCome(gates.closedUntil, now),
    refusals: gates.refusals(now),
    waiting,
    inFlight: gates.inFlight,
    buckets: states,
  };
}

function describeBucket(bucket: Bucket<Waiting>, now: number): BucketState {
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
    closedUntil: ifToCome(bucket.closedUntil, now),
  };
}

const ifToCome = (at: number, now: number) => (at > now ? at : null);
