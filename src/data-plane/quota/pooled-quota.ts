/**
 * The queue of a pool: requests that wait until one of its credentials has quota left.
 * Invariant: a request waits only while no credential that it may use can send it; whichever credential becomes free serves the first
 * request in the order of fair queues that it can serve; and each request is sent through the turnstile of one credential.
 */
import { FairQueue } from "../../fair-queue.ts";
import { Pump } from "../../pump.ts";
import type { PoolMember } from "../credential/credential-provider.ts";
import { type QuotaClock, runAt } from "./clocks.ts";
import type { MergedTimes } from "./merged-times.ts";
import { type PoolChoice, PoolMembers } from "./pool-members.ts";
import type { PooledAccount } from "./pooled-account.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";

/** Permission to send one request with this credential. */
export interface PoolTicket extends Ticket {
  readonly member: PoolMember;
}

export interface PoolDecision {
  readonly bucket: string;
  readonly waitMs: number;
  readonly member: PoolMember;
}

interface Waiting {
  readonly request: QuotaRequest;
  readonly choice: PoolChoice;
  readonly since: number;
  /** Equal for requests that wait for the same. */
  readonly kind: string;
  settle(outcome: PoolTicket | QuotaRefusal | undefined): void;
}

export interface PooledQuotaOptions {
  readonly accountOf: (member: PoolMember) => PooledAccount;
  readonly maxQueue: number;
  readonly clock: QuotaClock;
}

/** The waiting requests are checked again when the time of the first moves by this much, ms. */
const SWEEP_MS = 1_000;

/** When to retry if that depends on the response to another request, ms. */
const SOON_MS = 1_000;

const kindNow = ({ kind, choice: { variant } }: Waiting) => (variant === "" ? kind : kind + variant);

export class PooledQuota {
  readonly #options: PooledQuotaOptions;
  readonly #members: PoolMembers;
  readonly #queue = new FairQueue<Waiting>();
  readonly #pump = new Pump(() => this.#sendNext());
  #drainsAt = Number.POSITIVE_INFINITY;
  #sweptFor = 0;
  #stopTimer: () => void = () => {};

  constructor(options: PooledQuotaOptions) {
    this.#options = options;
    this.#members = new PoolMembers(options.accountOf);
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** What would happen to a request now: the time until it would be sent, ms, or its refusal. Nothing is reserved. */
  decide(request: QuotaRequest, choice: PoolChoice): PoolDecision | QuotaRefusal {
    const now = this.#now();
    const at = this.#estimate(request, choice);
    if (at > now && at >= this.#drainsAt) return this.#refusal(request, choice, "draining");
    if (at - now > request.maxWaitMs) return this.#refusal(request, choice, "too long");
    const isFull = this.#queue.size >= this.#options.maxQueue;
    if (isFull && at > now && this.#queue.lastOfMost(request.callerId) === undefined) {
      return this.#refusal(request, choice, "queue full");
    }
    const bucket = this.#members.bucketOf(request, choice);
    return { bucket, waitMs: at - now, member: this.#members.next(request, choice, now) };
  }

  /**
   * Waits until the request may be sent. @param onQueued called if it has to wait, with a function that removes it from the queue.
   * @returns undefined if it was removed.
   */
  async admit(
    request: QuotaRequest,
    choice: PoolChoice,
    onQueued: (leave: () => void) => void,
  ): Promise<PoolTicket | QuotaRefusal | undefined> {
    const since = this.#now();
    if (this.#queue.size === 0) {
      const taken = await this.#take({ request, choice, since });
      if (taken !== undefined) return taken;
    }
    const decision = this.decide(request, choice);
    if ("reason" in decision) return decision;
    const reason = this.#reasonNotToWait(request);
    if (reason !== undefined) return this.#refusal(request, choice, reason);
    return this.#wait({ request, choice, since }, onQueued);
  }

  /** The process ends: requests that cannot be sent before then are refused now, the others then. @param until ms since the epoch. */
  drain(until: number): void {
    this.#drainsAt = until;
    this.#sweep(true);
    this.#at(until, () => {
      for (const each of [...this.#queue.inOrder()]) this.#refuse(each, "draining");
    });
  }

  /** A credential may have become free, or may have less left than was assumed. */
  changed(): void {
    if (this.#queue.size === 0) return;
    this.#sweep(false);
    void this.#pump.run();
  }

  /** In a full queue, the request that has to make room is refused. */
  #reasonNotToWait({ callerId }: QuotaRequest): QuotaRefusal["reason"] | undefined {
    if (this.#now() >= this.#drainsAt) return "draining";
    if (this.#queue.size < this.#options.maxQueue) return undefined;
    const last = this.#queue.lastOfMost(callerId);
    if (last === undefined) return "queue full";
    this.#refuse(last, "queue full");
    return undefined;
  }

  async #wait(
    asking: Omit<Waiting, "settle" | "kind">,
    onQueued: (leave: () => void) => void,
  ): Promise<PoolTicket | QuotaRefusal | undefined> {
    let settle: Waiting["settle"] = () => {};
    let isSettled = false;
    const outcome = new Promise<PoolTicket | QuotaRefusal | undefined>((resolve) => {
      settle = (settled) => {
        isSettled = true;
        resolve(settled);
      };
    });
    const waiting: Waiting = { ...asking, kind: this.#members.kindOf(asking.request, asking.choice), settle };
    this.#queue.push(asking.request.callerId, waiting);
    // It may be sent at once: the others may wait for something else.
    await this.#pump.run();
    if (isSettled) return outcome;
    const stopTimer = this.#at(asking.since + asking.request.maxWaitMs, () => {
      // A point that becomes free at this very moment is still in time.
      void this.#pump.run().then(() => this.#refuse(waiting, "too long"));
    });
    onQueued(() => {
      if (this.#queue.remove(asking.request.callerId, waiting)) waiting.settle(undefined);
    });
    return outcome.finally(stopTimer);
  }

  #refuse(waiting: Waiting, reason: QuotaRefusal["reason"]): void {
    const { request, choice } = waiting;
    if (this.#queue.remove(request.callerId, waiting)) waiting.settle(this.#refusal(request, choice, reason));
  }

  #refusal(request: QuotaRequest, choice: PoolChoice, reason: QuotaRefusal["reason"]): QuotaRefusal {
    const now = this.#now();
    const at = Math.max(this.#estimate(request, choice), this.#members.freeAt(request, choice));
    const bucket = this.#members.bucketOf(request, choice);
    return { bucket, reason, retryAt: Number.isFinite(at) ? Math.max(at, now + 1) : now + SOON_MS };
  }

  /** Refuses waiting requests as soon as they cannot be sent in time. */
  #sweep(isForced: boolean): void {
    const [first] = this.#queue.inOrder();
    if (first === undefined) return;
    const now = this.#now();
    const end = this.#members.timesOf(first.request, first.choice).peek();
    if (!isForced && (end <= now || Math.abs(end - this.#sweptFor) < SWEEP_MS)) return;
    this.#sweptFor = end;
    const times = new Map<string, MergedTimes>();
    const lines = new Map<string, string>();
    for (const waiting of [...this.#queue.inOrder()]) {
      const { request, choice, since } = waiting;
      const kind = kindNow(waiting);
      const line = lines.get(kind) ?? this.#members.lineOf(request, choice);
      lines.set(kind, line);
      const free = times.get(line) ?? this.#members.timesOf(request, choice);
      times.set(line, free);
      const at = free.peek();
      if (at > now && at >= this.#drainsAt) this.#refuse(waiting, "draining");
      else if (at > since + request.maxWaitMs) this.#refuse(waiting, "too long");
      else free.next();
    }
  }

  /** The earliest time for a request, after the others of its line that go first. */
  #estimate(request: QuotaRequest, choice: PoolChoice): number {
    const line = this.#members.lineOf(request, choice);
    const times = this.#members.timesOf(request, choice);
    const lines = new Map<string, string>();
    for (const ahead of this.#queue.before(request.callerId)) {
      const kind = kindNow(ahead);
      const itsLine = lines.get(kind) ?? this.#members.lineOf(ahead.request, ahead.choice);
      lines.set(kind, itsLine);
      if (itsLine === line) times.next();
    }
    return times.peek();
  }

  /** @returns whether there may be another one. */
  async #sendNext(): Promise<boolean> {
    const { waiting, at } = this.#next();
    this.#stopTimer();
    if (waiting === undefined) {
      if (Number.isFinite(at)) this.#stopTimer = this.#at(at, () => void this.#pump.run());
      return false;
    }
    const taken = await this.#take(waiting);
    if (taken === undefined) return true;
    const { callerId } = waiting.request;
    if (this.#queue.holds(callerId, waiting)) {
      this.#queue.shift(callerId, waiting);
      waiting.settle(taken);
    }
    // Its client left while the ledger was asked.
    else taken.unused();
    return true;
  }

  /** The first request that may be sent now, else when there may be one. Callers alternate. */
  #next(): { readonly waiting: Waiting | undefined; readonly at: number } {
    const now = this.#now();
    let at = Number.POSITIVE_INFINITY;
    const blocked = new Set<string>();
    for (const line of this.#queue.lines()) {
      for (const waiting of line) {
        const { request, choice } = waiting;
        const kind = kindNow(waiting);
        if (blocked.has(kind)) continue;
        const free = this.#members.freeAt(request, choice);
        if (free <= now) return { waiting, at: now };
        blocked.add(kind);
        at = Math.min(at, free, choice.changesAt);
      }
    }
    return { waiting: undefined, at };
  }

  /** Tries the credentials that may send it now, the one with the most left first. */
  async #take({ request, choice, since }: Omit<Waiting, "settle" | "kind">): Promise<PoolTicket | undefined> {
    for (const member of this.#members.ranked(request, choice)) {
      const account = this.#members.accountOf(member);
      if (account.freeAt(request) > this.#now()) continue;
      const taken = await account.take(request, since);
      if (typeof taken === "number") continue;
      choice.noteChosen(member);
      return Object.assign(taken, { member });
    }
    return undefined;
  }

  #at(at: number, run: () => void): () => void {
    return runAt(this.#options.clock, at, run);
  }

  #now(): number {
    return this.#options.clock.now();
  }
}
