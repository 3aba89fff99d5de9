/**
 * The quota of one credential at one upstream: which requests may be sent, which wait and for how long, and what responses teach.
 * Invariant: a request is sent only with a reservation on every account that counts it; no request overtakes those ahead of it; and
 * every ticket ends.
 */
import { Pump } from "../../pump.ts";
import type { Account, Ledger } from "../../stores/ledger.ts";
import type { Bucket, Waiting } from "./bucket.ts";
import { Buckets } from "./buckets.ts";
import { type QuotaClock, runAt } from "./clocks.ts";
import { type CredentialQuotaState, describeQuota } from "./describe.ts";
import { type Ahead, addAhead, aheadOf, type Costs, Gates, laneOf } from "./gates.ts";
import { LedgerAccounts, learnResponse, type QuotaParts, restoreAccounts } from "./learn.ts";
import { PooledAccount } from "./pooled-account.ts";
import type { QuotaResponse, QuotaRoute, QuotaRules } from "./rules.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";
import { Turnstile } from "./turnstile.ts";
import { WaitingRoom } from "./waiting-room.ts";

export interface CredentialQuotaOptions {
  readonly rules: QuotaRules;
  readonly ledger: Pick<Ledger, "reserve" | "settle" | "release" | "forget">;
  /** Of the ledger's keys. */
  readonly prefix: string;
  readonly maxQueue: number;
  readonly clock: QuotaClock;
  /** In addition to the limit of the rules; none by default. */
  readonly maxInFlight?: number;
  /** Called after something has changed that may let a request of a pool through. */
  readonly onChange?: () => void;
}

/** The requests that wait for a window's end are checked again when it moves by this much, ms. */
const SWEEP_MS = 1_000;

/** When to retry if that depends on the response to another request, ms. */
const SOON_MS = 1_000;

export class CredentialQuota {
  /** For requests that wait in the queue of a pool. */
  readonly pooled: PooledAccount;
  readonly #options: CredentialQuotaOptions;
  readonly #parts: QuotaParts;
  readonly #turnstile: Turnstile;
  readonly #room = new WaitingRoom();
  readonly #pump = new Pump(() => this.#sendNext());
  /** Some requests wait only for a limit over all buckets: no new request may overtake them. */
  #isHeldBack = false;
  #drainsAt = Number.POSITIVE_INFINITY;
  #stopTimer: () => void = () => {};

  constructor(options: CredentialQuotaOptions) {
    const { rules, ledger, prefix } = options;
    this.#options = options;
    this.#parts = {
      rules,
      accounts: new LedgerAccounts(ledger, prefix),
      buckets: new Buckets(rules),
      gates: new Gates(rules, options),
    };
    this.#turnstile = new Turnstile({
      parts: this.#parts,
      now: () => this.#now(),
      onEnd: (bucket) => this.#changed(bucket),
    });
    this.pooled = new PooledAccount(this.#parts, this.#turnstile, () => this.#now());
  }

  get waiting(): number {
    return this.#room.size;
  }

  get isIdle(): boolean {
    const { gates, buckets } = this.#parts;
    const now = this.#now();
    const isBusy = this.#room.size > 0 || gates.inFlight > 0 || gates.closedUntil > now;
    return !isBusy && [...buckets].every((bucket) => bucket.isIdle(now));
  }

  describe(now: number): CredentialQuotaState {
    return describeQuota(this.#parts.buckets, this.#parts.gates, this.#room.size, now);
  }

  /** Restores the ledger's accounts after a restart: what was exhausted or closed stays so until its time. */
  restore(entries: Iterable<readonly [key: string, account: Account]>, now: number): void {
    restoreAccounts(entries, this.#parts, now);
  }

  /** Learns from the response to a request without a ticket. @param now ms since the epoch. */
  observe(route: QuotaRoute, response: QuotaResponse, now = this.#now()): void {
    const bucket = this.#parts.buckets.of(route, now);
    const withoutReservation = { reserved: new Map<string, string>(), sentAt: now, overlapping: bucket.inFlight };
    this.#changed(learnResponse(bucket, { route, response, ...withoutReservation }, this.#parts, now));
  }

  /** What would happen to a request now: the time until it would be sent, ms, or its refusal. Nothing is reserved. */
  decide(request: QuotaRequest): { readonly bucket: string; readonly waitMs: number } | QuotaRefusal {
    return this.#decide(request, this.#costsOf(request));
  }

  #decide(request: QuotaRequest, costs: Costs): { readonly bucket: string; readonly waitMs: number } | QuotaRefusal {
    const now = this.#now();
    const bucket = this.#parts.buckets.peek(request.route);
    const ahead = aheadOf(bucket.before(request.callerId, laneOf(costs)));
    const at = this.#estimate(bucket, costs, ahead, now);
    const refuse = (reason: QuotaRefusal["reason"]) => this.#refusal(bucket, costs, ahead, reason);
    if (at > now && at >= this.#drainsAt) return refuse("draining");
    if (at - now > request.maxWaitMs) return refuse("too long");
    const isFull = this.#room.size >= this.#options.maxQueue;
    if (isFull && at > now && this.#room.lastOfMost(request.callerId) === undefined) return refuse("queue full");
    return { bucket: bucket.key, waitMs: at - now };
  }

  /**
   * Waits until the request may be sent. @param onQueued called if it has to wait, with a function that removes it from the queue.
   * @returns undefined if it was removed.
   */
  async admit(
    request: QuotaRequest,
    onQueued: (leave: () => void) => void,
  ): Promise<Ticket | QuotaRefusal | undefined> {
    const { route, callerId, maxWaitMs } = request;
    const bucket = this.#parts.buckets.of(route, this.#now());
    const costs = this.#costsOf(request);
    const lane = laneOf(costs);
    const isNext = bucket.waiting === 0 && !this.#isHeldBack;
    // A request that may not wait cannot join a queue, so it delays none; it may be sent if no request waits in its lane.
    if (isNext || (maxWaitMs <= 0 && !bucket.lanes.has(lane))) {
      const taken = await this.#turnstile.take(bucket, { request, costs, since: this.#now() });
      if (typeof taken !== "number") return taken;
    }
    const decision = this.#decide(request, costs);
    if ("reason" in decision) return decision;
    // The bucket may have been renamed while the ledger was asked.
    const real = this.#parts.buckets.of(route, this.#now());
    const reason = this.#reasonNotToWait(request);
    if (reason === undefined) return this.#wait({ request, costs, lane, bucket: real }, onQueued);
    return this.#refusal(real, costs, aheadOf(real.before(callerId, lane)), reason);
  }

  /** Why a request that cannot be sent now may not wait either. In a full queue, the request that has to make room is refused. */
  #reasonNotToWait({ maxWaitMs, callerId }: QuotaRequest): QuotaRefusal["reason"] | undefined {
    if (maxWaitMs <= 0) return "too long";
    if (this.#now() >= this.#drainsAt) return "draining";
    if (this.#room.size < this.#options.maxQueue) return undefined;
    const last = this.#room.lastOfMost(callerId);
    if (last === undefined) return "queue full";
    this.#refuse(last, "queue full");
    return undefined;
  }

  /** The process ends: requests that cannot be sent before then are refused now, the others then. @param until ms since the epoch. */
  drain(until: number): void {
    this.#drainsAt = until;
    const now = this.#now();
    for (const bucket of this.#room.buckets) this.#sweep(bucket, now, true);
    this.#at(until, () => {
      for (const bucket of this.#room.buckets) for (const each of [...bucket.inOrder()]) this.#refuse(each, "draining");
    });
  }

  #wait(
    asking: Omit<Waiting, "since" | "settle">,
    onQueued: (leave: () => void) => void,
  ): Promise<Ticket | QuotaRefusal | undefined> {
    return new Promise((resolve) => {
      const since = this.#now();
      const waiting: Waiting = {
        ...asking,
        since,
        settle: (outcome) => {
          stopTimer();
          resolve(outcome);
        },
      };
      const stopTimer = this.#at(since + asking.request.maxWaitMs, () => {
        // A point that becomes free at this very moment is still in time.
        void this.#pump.run().then(() => this.#refuse(waiting, "too long"));
      });
      this.#room.add(waiting);
      onQueued(() => {
        if (this.#room.remove(waiting)) waiting.settle(undefined);
      });
      void this.#pump.run();
    });
  }

  #refuse(waiting: Waiting, reason: QuotaRefusal["reason"]): void {
    if (!this.#room.remove(waiting)) return;
    const { bucket, costs, lane, request } = waiting;
    waiting.settle(this.#refusal(bucket, costs, aheadOf(bucket.before(request.callerId, lane)), reason));
  }

  #refusal(bucket: Bucket, costs: Costs, ahead: Ahead, reason: QuotaRefusal["reason"]): QuotaRefusal {
    const now = this.#now();
    const freeAt = Math.max(this.#turnstile.freeAt(bucket, costs, now), bucket.askAgainAt);
    const at = Math.max(this.#estimate(bucket, costs, ahead, now), freeAt);
    return { bucket: bucket.key, reason, retryAt: Number.isFinite(at) ? Math.max(at, now + 1) : now + SOON_MS };
  }

  /** A response may have freed something, or reported less than was assumed. */
  #changed(bucket: Bucket): void {
    bucket.changes++;
    bucket.askAgainAt = 0;
    this.#options.onChange?.();
    if (this.#room.size === 0) return;
    const now = this.#now();
    this.#room.moved(bucket);
    if (this.#parts.gates.closedUntil > now) for (const each of this.#room.buckets) this.#sweep(each, now);
    else this.#sweep(bucket, now);
    void this.#pump.run();
  }

  /** Refuses waiting requests as soon as they cannot be sent in time. */
  #sweep(bucket: Bucket, now: number, isForced = false): void {
    if (bucket.waiting === 0) return;
    const end = Math.max(bucket.estimate(0, now), this.#parts.gates.closedUntil);
    // Close to the end for which they were last checked, they are still in time.
    if (!isForced && (end <= now || Math.abs(end - bucket.sweptFor) < SWEEP_MS)) return;
    bucket.sweptFor = end;
    let ahead = aheadOf([]);
    let lane: string | undefined;
    for (const waiting of [...bucket.inOrder()]) {
      if (waiting.lane !== lane) ahead = aheadOf([]);
      lane = waiting.lane;
      const at = this.#estimate(bucket, waiting.costs, ahead, now);
      if (at > now && at >= this.#drainsAt) this.#refuse(waiting, "draining");
      else if (at > waiting.since + waiting.request.maxWaitMs) this.#refuse(waiting, "too long");
      else addAhead(ahead, waiting.costs);
    }
  }

  /** @returns whether there may be another one. */
  async #sendNext(): Promise<boolean> {
    const now = this.#now();
    const { waiting, at, isHeldBack } = this.#room.next((costs) => this.#parts.gates.freeAt(costs, now), now);
    this.#isHeldBack = isHeldBack;
    if (waiting === undefined) {
      this.#stopTimer();
      if (Number.isFinite(at)) this.#stopTimer = this.#at(at, () => void this.#pump.run());
      return false;
    }
    const taken = await this.#turnstile.take(waiting.bucket, waiting);
    if (typeof taken === "number") return true;
    if (this.#room.remove(waiting, true)) waiting.settle(taken);
    // Its client left while the ledger was asked.
    else taken.unused();
    return true;
  }

  #at(at: number, run: () => void): () => void {
    return runAt(this.#options.clock, at, run);
  }

  #estimate(bucket: Bucket, costs: Costs, ahead: Ahead, now: number): number {
    return Math.max(this.#parts.gates.estimate(costs, ahead.costs, now), bucket.estimate(ahead.count, now));
  }

  #costsOf({ method, path }: QuotaRequest): Costs {
    return this.#parts.gates.costsOf(method, path);
  }

  #now(): number {
    return this.#options.clock.now();
  }
}
