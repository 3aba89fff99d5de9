/**
 * The quota of one credential at one upstream: who may go now, who waits and for how long, and what the answers teach.
 * Invariant: what is let go was set aside before, on every account that it counts on; nobody is let go before their turn; and
 * every ticket that was given is given back.
 */
import type { Ledger } from "../../stores/ledger.ts";
import type { Bucket } from "./bucket.ts";
import { type BucketMember, Buckets } from "./buckets.ts";
import { Gates } from "./gates.ts";
import type { QuotaReading } from "./read-quota.ts";
import type { QuotaRoute, QuotaRules } from "./rules.ts";
import type { QuotaClock, QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";

export interface CredentialQuotaOptions {
  readonly rules: QuotaRules;
  readonly ledger: Pick<Ledger, "reserve" | "settle" | "release">;
  /** Begins the ledger's keys. */
  readonly prefix: string;
  readonly maxQueue: number;
  readonly clock: QuotaClock;
}

interface Waiting extends BucketMember {
  readonly request: QuotaRequest;
  readonly since: number;
  settle(outcome: Ticket | QuotaRefusal | undefined): void;
  stopTimer: () => void;
}

/** The account of a closure, in the place of a window. */
const CLOSED = "(closed)";
/** The bucket of what holds for all of them. */
const ALL = "(all)";

export class CredentialQuota {
  readonly #options: CredentialQuotaOptions;
  readonly #gates: Gates;
  readonly #buckets: Buckets<Waiting>;
  #waiting = 0;
  #isPumping = false;
  #mustPumpAgain = false;
  #stopTimer: () => void = () => {};

  constructor(options: CredentialQuotaOptions) {
    this.#options = options;
    this.#buckets = new Buckets(options.rules);
    this.#gates = new Gates(options.rules);
  }

  get waiting(): number {
    return this.#waiting;
  }

  get isIdle(): boolean {
    const now = this.#now();
    return this.#waiting === 0 && this.#gates.inFlight === 0 && [...this.#buckets].every((each) => each.isIdle(now));
  }

  /** What would happen to a request now: ms until it would go, or its refusal. Nothing is set aside. */
  decide(request: QuotaRequest): { readonly bucket: string; readonly waitMs: number } | QuotaRefusal {
    const now = this.#now();
    const bucket = this.#buckets.of(this.#routeOf(request), now);
    const at = this.#estimate(bucket, request, now);
    const refusal = { bucket: bucket.key, retryAt: at };
    if (at - now > request.maxWaitMs) return { ...refusal, reason: "too long" };
    if (this.#waiting >= this.#options.maxQueue && at > now) return { ...refusal, reason: "queue full" };
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
    const bucket = this.#buckets.of(this.#routeOf(request), this.#now());
    if (bucket.queue.size === 0) {
      const taken = await this.#take(bucket, request, this.#now());
      if (typeof taken !== "number") return taken;
    }
    const decision = this.decide(request);
    if ("reason" in decision) return decision;
    return this.#wait(bucket, request, onQueued);
  }

  #wait(
    bucket: Bucket<Waiting>,
    request: QuotaRequest,
    onQueued: (leave: () => void) => void,
  ): Promise<Ticket | QuotaRefusal | undefined> {
    const { clock } = this.#options;
    const { callerId } = request;
    return new Promise((resolve) => {
      const waiting: Waiting = {
        ...{ request, callerId, bucket, route: this.#routeOf(request), since: this.#now(), stopTimer: () => {} },
        settle: (outcome) => {
          waiting.stopTimer();
          this.#waiting--;
          resolve(outcome);
        },
      };
      const giveUp = (outcome: QuotaRefusal | undefined) => {
        waiting.bucket.queue.remove(callerId, waiting);
        waiting.settle(outcome);
      };
      waiting.stopTimer = clock.after(request.maxWaitMs, () => {
        const now = this.#now();
        const retryAt = this.#estimate(waiting.bucket, request, now);
        giveUp({ bucket: waiting.bucket.key, retryAt: Math.max(retryAt, now + 1), reason: "too long" });
      });
      this.#waiting++;
      bucket.queue.push(callerId, waiting);
      onQueued(() => giveUp(undefined));
      void this.#pump();
    });
  }

  /** Lets go whoever may: one of each bucket in turn, until nobody may. */
  async #pump(): Promise<void> {
    if (this.#isPumping) {
      this.#mustPumpAgain = true;
      return;
    }
    this.#isPumping = true;
    let nextAt = Number.POSITIVE_INFINITY;
    do {
      this.#mustPumpAgain = false;
      nextAt = Number.POSITIVE_INFINITY;
      let hasMoved = true;
      while (hasMoved) {
        hasMoved = false;
        nextAt = Number.POSITIVE_INFINITY;
        for (const bucket of [...this.#buckets]) {
          const at = await this.#letOneGo(bucket);
          if (at === undefined) hasMoved = true;
          else nextAt = Math.min(nextAt, at);
        }
      }
    } while (this.#mustPumpAgain);
    this.#isPumping = false;
    this.#stopTimer();
    if (Number.isFinite(nextAt)) {
      this.#stopTimer = this.#options.clock.after(Math.max(1, nextAt - this.#now()), () => void this.#pump());
    }
  }

  /** Undefined when one went; else when the next one may, ms since the epoch. */
  async #letOneGo(bucket: Bucket<Waiting>): Promise<number | undefined> {
    const waiting = bucket.queue.peek();
    if (waiting === undefined) return Number.POSITIVE_INFINITY;
    const taken = await this.#take(bucket, waiting.request, this.#now(), waiting.since);
    if (typeof taken === "number") return taken;
    // Whoever was first may have left meanwhile: then the next one has the ticket.
    const now = bucket.queue.shift();
    if (now === undefined) taken.unused();
    else now.settle(taken);
    return undefined;
  }

  /** A ticket, or when to ask again. */
  async #take(bucket: Bucket<Waiting>, request: QuotaRequest, now: number, since = now): Promise<Ticket | number> {
    const at = this.#freeAt(bucket, request, now);
    if (at > now) return at;
    const reserved = await this.#reserve(bucket, request, now);
    if (typeof reserved === "number") return reserved;
    // Others may have gone while the ledger was asked.
    const atNow = this.#freeAt(bucket, request, now);
    if (atNow > now) {
      for (const [key, id] of reserved) void this.#options.ledger.release(key, id, now);
      return atNow;
    }
    this.#gates.enter(request, now);
    bucket.grant(now);
    return this.#ticket(bucket, request, reserved, now - since);
  }

  /** On every account of the bucket, or on none. @returns the reservations, or when to ask again. */
  async #reserve(
    bucket: Bucket<Waiting>,
    { leaseMs }: QuotaRequest,
    now: number,
  ): Promise<Map<string, string> | number> {
    const { ledger } = this.#options;
    const reserved = new Map<string, string>();
    for (const window of bucket.windows) {
      const key = this.#keyOf(bucket.key, window);
      const answer = await ledger.reserve(key, 1, leaseMs, now);
      if (answer.isGranted) {
        reserved.set(key, answer.id);
        continue;
      }
      for (const [other, id] of reserved) void ledger.release(other, id, now);
      return Math.max(answer.resetsAt, now + 1);
    }
    return reserved;
  }

  #ticket(bucket: Bucket<Waiting>, request: QuotaRequest, reserved: Map<string, string>, waitedMs: number): Ticket {
    let isOver = false;
    const end = (settle: () => void) => {
      if (isOver) return;
      isOver = true;
      settle();
      bucket.inFlight--;
      this.#gates.leave();
      void this.#pump();
    };
    const { ledger } = this.#options;
    return {
      waitedMs,
      answered: (status, reading) => end(() => this.#learn(bucket, request, reserved, status, reading)),
      lost: () =>
        end(() => {
          for (const [key, id] of reserved) void ledger.settle(key, id, undefined, this.#now());
        }),
      unused: () =>
        end(() => {
          for (const [key, id] of reserved) void ledger.release(key, id, this.#now());
          this.#gates.giveBack(request);
        }),
    };
  }

  #learn(
    bucket: Bucket<Waiting>,
    request: QuotaRequest,
    reserved: Map<string, string>,
    status: number,
    reading: QuotaReading,
  ): void {
    const { rules, ledger } = this.#options;
    const now = this.#now();
    const real = this.#buckets.rename(bucket, this.#routeOf(request), reading.bucket, now);
    const closure = rules.closureOf(status, reading, now);
    this.#gates.note(status, reading.scope, now);
    const settled = new Set<string>();
    for (const window of reading.windows) {
      const key = this.#keyOf(real.key, window.name);
      settled.add(key);
      real.learn(window, closure !== undefined, now);
      const { limit = window.remaining, remaining, resetsAt } = window;
      void ledger.settle(key, reserved.get(key) ?? "", { limit, remaining, resetsAt }, now);
    }
    for (const [key, id] of reserved) if (!settled.has(key)) void ledger.settle(key, id, undefined, now);
    real.learnMissing(
      reading.windows.map(({ name }) => name),
      closure !== undefined,
      now,
    );
    if (closure === undefined) return;
    if (closure.of === "all") this.#gates.close(closure.until);
    else real.closedUntil = Math.max(real.closedUntil, closure.until);
    const account = { limit: 0, remaining: 0, resetsAt: closure.until };
    void ledger.settle(this.#keyOf(closure.of === "all" ? ALL : real.key, CLOSED), "", account, now);
  }

  /** What every gate but the ledger says, ms since the epoch. */
  #freeAt(bucket: Bucket<Waiting>, request: QuotaRequest, now: number): number {
    return Math.max(this.#gates.freeAt(request, now), bucket.freeAt(now));
  }

  #estimate(bucket: Bucket<Waiting>, request: QuotaRequest, now: number): number {
    const inBucket = bucket.estimate(bucket.queue.ahead(request.callerId), now);
    return Math.max(this.#gates.estimate(request, this.#waiting, now), inBucket);
  }

  #routeOf({ method, path }: QuotaRequest): QuotaRoute {
    return this.#options.rules.routeOf(method, path);
  }

  #keyOf(bucket: string, window: string): string {
    return `${this.#options.prefix}${bucket}${SEPARATOR}${window}`;
  }

  #now(): number {
    return this.#options.clock.now();
  }
}

/** Neither a bucket's name nor a route has one. */
const SEPARATOR = "\n";
