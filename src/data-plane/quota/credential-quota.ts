/**
 * The quota of one credential at one upstream: who may go now, who waits and for how long, and what the answers teach.
 * Invariant: what is let go was set aside before, on every account that it counts on; nobody is let go before their turn; and
 * every ticket that was given is given back.
 */
import type { Account, Ledger } from "../../stores/ledger.ts";
import { Accounts } from "./accounts.ts";
import { type Ahead, aheadOf, goAhead } from "./ahead.ts";
import type { Bucket } from "./bucket.ts";
import { Buckets } from "./buckets.ts";
import { type CredentialQuotaState, describeQuota } from "./describe-quota.ts";
import { type Costs, Gates, laneOf } from "./gates.ts";
import { learnAnswer, type QuotaParts, restoreAccounts } from "./learn-answer.ts";
import type { QuotaReading } from "./read-quota.ts";
import type { QuotaRoute, QuotaRules } from "./rules.ts";
import type { QuotaClock, QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";
import { Turnstile } from "./turnstile.ts";
import { type Waiting, WaitingRoom } from "./waiting-room.ts";

export interface CredentialQuotaOptions {
  readonly rules: QuotaRules;
  readonly ledger: Pick<Ledger, "reserve" | "settle" | "release">;
  /** Begins the ledger's keys. */
  readonly prefix: string;
  readonly maxQueue: number;
  readonly clock: QuotaClock;
  /** Beside what the rules say of it; none by default. */
  readonly maxInFlight?: number;
}

/** No timer is set for longer, ms: those of Node end at 2^31. */
const LONGEST_TIMER_MS = 3_600_000;

/** By so much has an end to move that those who wait for it are measured against it again, ms. */
const SWEEP_MS = 1_000;

/** When to come again where that depends on somebody else's answer, ms. */
const SOON_MS = 1_000;

export class CredentialQuota {
  readonly #options: CredentialQuotaOptions;
  readonly #parts: QuotaParts<Waiting>;
  readonly #turnstile: Turnstile;
  readonly #room = new WaitingRoom();
  #pumping: Promise<void> | undefined;
  #mustPump = false;
  /** Some wait for their turn between buckets: nobody may pass them. */
  #isHeldBack = false;
  #drainsAt = Number.POSITIVE_INFINITY;
  #stopTimer: () => void = () => {};

  constructor(options: CredentialQuotaOptions) {
    const { rules, ledger, prefix } = options;
    this.#options = options;
    this.#parts = {
      rules,
      accounts: new Accounts(ledger, prefix),
      buckets: new Buckets(rules),
      gates: new Gates(rules, options),
    };
    this.#turnstile = new Turnstile({
      parts: this.#parts,
      now: () => this.#now(),
      onEnd: (bucket) => this.#changed(bucket),
    });
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

  /** Accounts of the ledger, after a restart: whatever was used up or closed stays so until its time. */
  restore(entries: Iterable<readonly [key: string, account: Account]>, now: number): void {
    restoreAccounts(entries, this.#parts, now);
  }

  /** An answer to a request that took no ticket. @param now ms since the epoch. */
  observe(
    { method, path }: Pick<QuotaRequest, "method" | "path">,
    status: number,
    reading: QuotaReading,
    now = this.#now(),
  ): void {
    // Nearly every answer of most upstreams says nothing: then nothing is looked up.
    const isSilent = reading.windows.length === 0 && reading.bucket === undefined;
    if (isSilent && status !== 401 && status !== 403 && status !== 429) return;
    const route = this.#options.rules.routeOf(method, path);
    const bucket = this.#parts.buckets.of(route, now);
    const isNobodys = { reserved: new Map<string, string>(), sentAt: now, overlapping: bucket.inFlight };
    this.#changed(learnAnswer(bucket, { route, status, reading, ...isNobodys }, this.#parts, now));
  }

  /** What would happen to a request now: ms until it would go, or its refusal. Nothing is set aside. */
  decide(request: QuotaRequest): { readonly bucket: string; readonly waitMs: number } | QuotaRefusal {
    const now = this.#now();
    const bucket = this.#parts.buckets.peek(this.#routeOf(request));
    const costs = this.#parts.gates.costsOf(request.method, request.path);
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
   * Waits until the request may go. @param onQueued told when it has to wait, with what gives the place back.
   * @returns undefined where the place was given back.
   */
  async admit(
    request: QuotaRequest,
    onQueued: (leave: () => void) => void,
  ): Promise<Ticket | QuotaRefusal | undefined> {
    const route = this.#routeOf(request);
    const bucket = this.#parts.buckets.of(route, this.#now());
    const costs = this.#parts.gates.costsOf(request.method, request.path);
    const lane = laneOf(costs);
    const isNext = bucket.waiting === 0 && !this.#isHeldBack;
    // Who may not wait takes a turn in a queue from nobody, but goes where nobody waits for the same.
    if (isNext || (request.maxWaitMs <= 0 && !bucket.lanes.has(lane))) {
      const taken = await this.#turnstile.take(bucket, { request, costs, since: this.#now() });
      if (typeof taken !== "number") return taken;
    }
    const decision = this.decide(request);
    if ("reason" in decision) return decision;
    // The bucket may have got another name while the ledger was asked.
    const real = this.#parts.buckets.of(route, this.#now());
    const { callerId } = request;
    const reason = this.#mayNotWait(request);
    if (reason === undefined) return this.#wait({ request, costs, route, callerId, lane, bucket: real }, onQueued);
    return this.#refusal(real, costs, aheadOf(real.before(callerId, lane)), reason);
  }

  /** Why a request that cannot go now may not wait either; who has to make room for it is refused. */
  #mayNotWait({ maxWaitMs, callerId }: QuotaRequest): QuotaRefusal["reason"] | undefined {
    if (maxWaitMs <= 0) return "too long";
    if (this.#now() >= this.#drainsAt) return "draining";
    if (this.#room.size < this.#options.maxQueue) return undefined;
    const last = this.#room.lastOfMost(callerId);
    if (last === undefined) return "queue full";
    this.#refuse(last, "queue full");
    return undefined;
  }

  /** The process ends: who would not go before then is refused now, and whoever is left then. @param until ms since the epoch. */
  drain(until: number): void {
    this.#drainsAt = until;
    const now = this.#now();
    for (const bucket of this.#room.buckets) this.#sweep(bucket, now, true);
    this.#at(until, () => {
      for (const bucket of this.#room.buckets) for (const each of [...bucket.inTurn()]) this.#refuse(each, "draining");
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
        // What is free at this very moment is still in time.
        void this.#pump().then(() => this.#refuse(waiting, "too long"));
      });
      this.#room.add(waiting);
      onQueued(() => {
        if (this.#room.remove(waiting)) waiting.settle(undefined);
      });
      void this.#pump();
    });
  }

  #refuse(waiting: Waiting, reason: QuotaRefusal["reason"]): void {
    if (!this.#room.remove(waiting)) return;
    const { bucket, costs, callerId } = waiting;
    waiting.settle(this.#refusal(bucket, costs, aheadOf(bucket.before(callerId, waiting.lane)), reason));
  }

  #refusal(bucket: Bucket<Waiting>, costs: Costs, ahead: Ahead, reason: QuotaRefusal["reason"]): QuotaRefusal {
    const now = this.#now();
    const freeAt = Math.max(this.#turnstile.freeAt(bucket, costs, now), bucket.askAgainAt);
    const at = Math.max(this.#estimate(bucket, costs, ahead, now), freeAt);
    return { bucket: bucket.key, reason, retryAt: Number.isFinite(at) ? Math.max(at, now + 1) : now + SOON_MS };
  }

  /** An answer may have freed something, or have told that there is less than was thought. */
  #changed(bucket: Bucket<Waiting>): void {
    bucket.changes++;
    bucket.askAgainAt = 0;
    if (this.#room.size === 0) return;
    const now = this.#now();
    this.#room.moved(bucket);
    if (this.#parts.gates.closedUntil > now) for (const each of this.#room.buckets) this.#sweep(each, now);
    else this.#sweep(bucket, now);
    void this.#pump();
  }

  /** Refuses at once who waits and cannot make it any more. */
  #sweep(bucket: Bucket<Waiting>, now: number, isForced = false): void {
    if (bucket.waiting === 0) return;
    const end = Math.max(bucket.estimate(0, now), this.#parts.gates.closedUntil);
    // Where the end is about the one that they were measured against before, they still make it.
    if (!isForced && (end <= now || Math.abs(end - bucket.sweptFor) < SWEEP_MS)) return;
    bucket.sweptFor = end;
    let ahead = aheadOf([]);
    let lane: string | undefined;
    for (const waiting of [...bucket.inTurn()]) {
      if (waiting.lane !== lane) ahead = aheadOf([]);
      lane = waiting.lane;
      const at = this.#estimate(bucket, waiting.costs, ahead, now);
      if (at > now && at >= this.#drainsAt) this.#refuse(waiting, "draining");
      else if (at > waiting.since + waiting.request.maxWaitMs) this.#refuse(waiting, "too long");
      else goAhead(ahead, waiting.costs);
    }
  }

  /** Lets go whoever may. @returns when that is done. */
  #pump(): Promise<void> {
    this.#mustPump = true;
    this.#pumping ??= this.#letGo();
    return this.#pumping;
  }

  async #letGo(): Promise<void> {
    try {
      while (this.#mustPump) {
        this.#mustPump = false;
        while (await this.#letOneGo());
      }
    } finally {
      // Not a turn later: whoever asks from now on starts anew.
      this.#pumping = undefined;
    }
  }

  /** @returns whether there is somebody else to look at. */
  async #letOneGo(): Promise<boolean> {
    const now = this.#now();
    const { waiting, at, isHeldBack } = this.#room.next((costs) => this.#parts.gates.freeAt(costs, now), now);
    this.#isHeldBack = isHeldBack;
    if (waiting === undefined) {
      this.#stopTimer();
      if (Number.isFinite(at)) this.#stopTimer = this.#at(at, () => void this.#pump());
      return false;
    }
    const taken = await this.#turnstile.take(waiting.bucket, waiting);
    if (typeof taken === "number") return true;
    if (this.#room.remove(waiting, true)) waiting.settle(taken);
    // Left while the ledger was asked.
    else taken.unused();
    return true;
  }

  /** Not a millisecond early, as timers may be, and however far away it is. @returns what takes it back. */
  #at(at: number, run: () => void): () => void {
    const { clock } = this.#options;
    const inMs = Math.min(LONGEST_TIMER_MS, Math.max(0, at - clock.now()));
    let stop = clock.after(inMs, () => {
      if (clock.now() >= at) run();
      else stop = this.#at(at, run);
    });
    return () => stop();
  }

  #estimate(bucket: Bucket<Waiting>, costs: Costs, ahead: Ahead, now: number): number {
    return Math.max(this.#parts.gates.estimate(costs, ahead.costs, now), bucket.estimate(ahead.count, now));
  }

  #routeOf({ method, path }: QuotaRequest): QuotaRoute {
    return this.#options.rules.routeOf(method, path);
  }

  #now(): number {
    return this.#options.clock.now();
  }
}
