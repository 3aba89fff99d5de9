/**
 * Who waits for a credential, in which bucket, and who of them goes next: turn by turn between callers within a bucket, and between
 * those of several buckets where something holds back all of them.
 * Invariant: whoever is in a queue is counted here, and nobody else; what it costs depends on who waits, not on what is known.
 */

import type { Bucket } from "./bucket.ts";
import type { BucketMember } from "./buckets.ts";
import type { Costs } from "./gates.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";

export interface Waiting extends BucketMember {
  readonly request: QuotaRequest;
  readonly costs: Costs;
  /** ms since the epoch. */
  readonly since: number;
  settle(outcome: Ticket | QuotaRefusal | undefined): void;
}

interface Caller {
  /** The less, the longer ago it was this caller's turn. */
  turn: number;
  readonly all: Set<Waiting>;
}

/** Whoever goes next, or when somebody may. */
export interface Next {
  readonly waiting: Waiting | undefined;
  /** ms since the epoch; infinity when that depends on an answer. */
  readonly at: number;
  /** Somebody would go, were it not for what holds back all. */
  readonly isHeldBack: boolean;
}

export class WaitingRoom {
  readonly #buckets = new Set<Bucket<Waiting>>();
  readonly #callers = new Map<string, Caller>();
  #size = 0;
  #turns = 0;

  get size(): number {
    return this.#size;
  }

  /** Those in which somebody waits. */
  get buckets(): readonly Bucket<Waiting>[] {
    return [...this.#buckets].filter(({ lanes }) => lanes.size > 0);
  }

  add(waiting: Waiting): void {
    const { bucket, callerId } = waiting;
    bucket.push(waiting);
    this.#buckets.add(bucket);
    this.#size++;
    const caller = this.#callers.get(callerId);
    // Behind the others, as if it had just had its turn: whoever asks one by one gets no more than the others.
    if (caller === undefined) this.#callers.set(callerId, { turn: ++this.#turns, all: new Set([waiting]) });
    else caller.all.add(waiting);
  }

  /** @param hasGone its caller goes behind the others. @returns whether it was there. */
  remove(waiting: Waiting, hasGone = false): boolean {
    const { bucket, callerId } = waiting;
    const caller = this.#callers.get(callerId);
    if (caller === undefined || !caller.all.delete(waiting)) return false;
    bucket.remove(waiting, hasGone);
    if (bucket.lanes.size === 0) this.#buckets.delete(bucket);
    if (hasGone) caller.turn = ++this.#turns;
    if (caller.all.size === 0) this.#callers.delete(callerId);
    this.#size--;
    return true;
  }

  /** Those who waited in another one may wait in this one now. */
  moved(to: Bucket<Waiting>): void {
    if (to.lanes.size > 0) this.#buckets.add(to);
  }

  /** The last of the caller with the most who wait, if that are more than this caller's: who makes room for it. */
  lastOfMost(callerId: string): Waiting | undefined {
    let most = this.#callers.get(callerId)?.all ?? new Set<Waiting>();
    const own = most;
    for (const { all } of this.#callers.values()) if (all.size > most.size) most = all;
    return most === own ? undefined : [...most].at(-1);
  }

  /** @param gateAt what holds for all of the credential's requests, ms since the epoch. */
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

  /** Turn by turn between callers, first come first served within one. */
  #isBefore(a: Waiting, b: Waiting): boolean {
    if (a.callerId === b.callerId) return a.since < b.since;
    return (this.#callers.get(a.callerId)?.turn ?? 0) < (this.#callers.get(b.callerId)?.turn ?? 0);
  }
}
