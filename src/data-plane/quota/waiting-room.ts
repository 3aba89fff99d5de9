/**
 * The requests that wait for one credential, in their buckets, and which of them is next. Callers alternate within a bucket, and
 * also between buckets when a limit over all buckets holds requests back.
 * Invariant: it counts exactly the requests in the queues; its cost depends on the waiting requests, not on the known buckets.
 */
import type { Bucket, Waiting } from "./bucket.ts";
import type { Costs } from "./gates.ts";

interface Caller {
  /** Callers with a lower number are served first. */
  position: number;
  readonly all: Set<Waiting>;
}

/** The next request, or when there may be one. */
export interface Next {
  readonly waiting: Waiting | undefined;
  /** ms since the epoch; infinity when it depends on a response. */
  readonly at: number;
  /** A request is held back only by a limit over all buckets. */
  readonly isHeldBack: boolean;
}

export class WaitingRoom {
  readonly #buckets = new Set<Bucket>();
  readonly #callers = new Map<string, Caller>();
  #size = 0;
  #lastPosition = 0;

  get size(): number {
    return this.#size;
  }

  /** Those with waiting requests. */
  get buckets(): readonly Bucket[] {
    return [...this.#buckets].filter(({ lanes }) => lanes.size > 0);
  }

  add(waiting: Waiting): void {
    const { bucket, request } = waiting;
    bucket.push(waiting);
    this.#buckets.add(bucket);
    this.#size++;
    const caller = this.#callers.get(request.callerId);
    // Behind the other callers, as if it had just been served: sending one request at a time gives no advantage.
    if (caller === undefined) {
      this.#callers.set(request.callerId, { position: ++this.#lastPosition, all: new Set([waiting]) });
    } else caller.all.add(waiting);
  }

  /** @param wasSent its caller moves behind the others. @returns false if it was not there. */
  remove(waiting: Waiting, wasSent = false): boolean {
    const { bucket, request } = waiting;
    const caller = this.#callers.get(request.callerId);
    if (caller === undefined || !caller.all.delete(waiting)) return false;
    bucket.remove(waiting, wasSent);
    if (bucket.lanes.size === 0) this.#buckets.delete(bucket);
    if (wasSent) caller.position = ++this.#lastPosition;
    if (caller.all.size === 0) this.#callers.delete(request.callerId);
    this.#size--;
    return true;
  }

  /** Requests may have been moved to this bucket from another one. */
  moved(to: Bucket): void {
    if (to.lanes.size > 0) this.#buckets.add(to);
  }

  /** The last request of the caller with the most waiting requests; undefined if this caller has as many itself. */
  lastOfMost(callerId: string): Waiting | undefined {
    let most = this.#callers.get(callerId)?.all ?? new Set<Waiting>();
    const own = most;
    for (const { all } of this.#callers.values()) if (all.size > most.size) most = all;
    return most === own ? undefined : [...most].at(-1);
  }

  /** @param gateAt when the limits over all buckets allow a request, ms since the epoch. */
  next(gateAt: (costs: Costs) => number, now: number): Next {
    let next: Waiting | undefined;
    let at = Number.POSITIVE_INFINITY;
    let isHeldBack = false;
    for (const bucket of this.#buckets) {
      const bucketAt = Math.max(bucket.askAgainAt, bucket.freeAt(now));
      for (const lane of bucket.lanes.values()) {
        const first = lane.peek();
        if (first === undefined) continue;
        const firstAt = Math.max(bucketAt, gateAt(first.costs));
        isHeldBack ||= bucketAt <= now && firstAt > now;
        at = Math.min(at, firstAt);
        if (firstAt <= now && (next === undefined || this.#isBefore(first, next))) next = first;
      }
      if (bucket.lanes.size === 0) this.#buckets.delete(bucket);
    }
    return { waiting: next, at, isHeldBack };
  }

  /** Callers alternate; the requests of one caller keep their order. */
  #isBefore(a: Waiting, b: Waiting): boolean {
    const [one, other] = [a.request.callerId, b.request.callerId];
    if (one === other) return a.since < b.since;
    return (this.#callers.get(one)?.position ?? 0) < (this.#callers.get(other)?.position ?? 0);
  }
}
