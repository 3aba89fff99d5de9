/**
 * The requests that wait for one rate limit, over all its counters: who may wait, for how long, and when they can be sent.
 * Invariant: no new request overtakes those that wait for the same counter; a request that cannot be sent in time is refused at once;
 * and every waiting request is settled once.
 */
import { LONGEST_TIMER_MS } from "../config/schema.ts";
import { FairQueue } from "../fair-queue.ts";
import {
  type EndReason,
  LimitLine,
  type LimitOutcome,
  type LimitRefusalReason,
  type LimitRequest,
  type Waiting,
} from "./limit-line.ts";
import type { LimitState, LimitSubject } from "./limit-state.ts";

/** The limit for whose windows the requests wait. */
export interface QueuedLimit {
  readonly maxRequests: number;
  readonly windowMs: number;
  /** Names the counter of a request, and counts the request. */
  enter(subject: LimitSubject): string;
  /** Names the counter only. */
  find(subject: LimitSubject): string;
  /** Spends one point of a counter. @throws Error when the store fails. */
  spend(counter: string): Promise<LimitState>;
  /** @param resetMs until a request could be sent. */
  exceeded(resetMs: number): LimitState;
}

/** What would happen to a request now. */
export type LimitForecast =
  | {
      readonly kind: "sent";
      readonly waitMs: number;
      /** In the queue, from 1; 0 for a request that need not wait. */
      readonly position: number;
      /** The waiting request that makes room for it in a full queue. */
      readonly displaced?: Waiting | undefined;
    }
  | { readonly kind: "refused"; readonly reason: LimitRefusalReason; readonly state: LimitState };

/** A timer is late on a busy machine: a request whose window begins this much after the end of its maximum wait still gets its turn, ms. */
const GRACE_MS = 50;

export class LimitQueue {
  readonly #limit: QueuedLimit;
  readonly #lines = new Map<string, LimitLine>();
  /** All waiting requests: when the queue is full, the caller with the most of them has to make room. */
  readonly #all = new FairQueue<Waiting>();
  #maxQueue: number;
  #drainsAt = Number.POSITIVE_INFINITY;
  #endReason: EndReason = "draining";

  constructor(limit: QueuedLimit, maxQueue: number) {
    this.#limit = limit;
    this.#maxQueue = maxQueue;
  }

  get size(): number {
    return this.#all.size;
  }

  set maxQueue(maxQueue: number) {
    this.#maxQueue = maxQueue;
  }

  /**
   * Waits until the request has a point of the limit. @param onQueued called if it has to wait, with a function that removes it.
   * @param spent the state after its point, where that was spent together with others. @throws Error when the store fails.
   */
  async admit(request: LimitRequest, onQueued: (leave: () => void) => void, spent?: LimitState): Promise<LimitOutcome> {
    const counter = this.#limit[spent === undefined ? "enter" : "find"](request.subject);
    let opensInMs = 0;
    if (spent !== undefined || !this.#lines.has(counter)) {
      const state = spent ?? (await this.#limit.spend(counter));
      if (!state.isExceeded) return { kind: "admitted", state };
      opensInMs = state.resetMs;
    }
    // Others may have begun to wait while the store was asked.
    const line = this.#lines.get(counter) ?? this.#createLine(counter, opensInMs);
    const forecast = this.#forecast(line, request);
    if (forecast.kind === "refused") return forecast;
    if (forecast.displaced !== undefined) this.#refuse(forecast.displaced, "queue full");
    return this.#wait(line, request, onQueued);
  }

  /** Whether requests wait for the counter of this one. */
  isWaitedFor(subject: LimitSubject): boolean {
    return this.#lines.has(this.#limit.find(subject));
  }

  /** What would happen to a request now: nothing is spent. @param state of its counter. */
  forecast(request: LimitRequest, state: LimitState): LimitForecast {
    const counter = this.#limit.find(request.subject);
    const line = this.#lines.get(counter);
    if (line === undefined && !state.isExceeded) return { kind: "sent", waitMs: 0, position: 0 };
    return this.#forecast(line ?? this.#createLine(counter, state.resetMs), request);
  }

  /** The counts start again. */
  reopen(): void {
    for (const line of [...this.#lines.values()]) line.reopen();
  }

  /** Requests that cannot be sent before then are refused now, the others then. */
  drain(withinMs: number, reason: EndReason): void {
    this.#drainsAt = performance.now() + withinMs;
    this.#endReason = reason;
    for (const line of [...this.#lines.values()]) this.#sweep(line);
    setTimeout(() => {
      for (const line of [...this.#lines.values()]) for (const waiting of line.inOrder()) this.#refuse(waiting, reason);
    }, withinMs).unref();
  }

  /** Requests that waited for a limit that this one replaces. They keep their order and their maximum wait. */
  takeOver(other: LimitQueue): void {
    for (const waiting of other.#removeAll()) {
      const counter = this.#limit.enter(waiting.request.subject);
      this.#add(this.#lines.get(counter) ?? this.#createLine(counter, 0), waiting);
    }
  }

  /** The limit was removed: all requests are sent. */
  release(): void {
    for (const waiting of this.#removeAll()) waiting.settle({ kind: "admitted", state: undefined });
  }

  #removeAll(): readonly Waiting[] {
    const all = [...this.#lines.values()].flatMap((line) => line.inOrder());
    for (const waiting of all) waiting.line.remove(waiting);
    return all;
  }

  #forecast(line: LimitLine, { party, maxWaitMs }: LimitRequest): LimitForecast {
    const now = performance.now();
    const ahead = line.ahead(party);
    const waitMs = line.waitMs(ahead, now);
    const refuse = (reason: LimitRefusalReason) =>
      ({ kind: "refused", reason, state: this.#limit.exceeded(waitMs) }) as const;
    if (now + waitMs >= this.#drainsAt) return refuse(this.#endReason);
    if (waitMs > maxWaitMs) return refuse("too long");
    const isFull = this.#all.size >= this.#maxQueue;
    const displaced = isFull ? this.#all.lastOfMost(party) : undefined;
    if (isFull && displaced === undefined) return refuse("queue full");
    return { kind: "sent", waitMs, position: ahead + 1, displaced };
  }

  #createLine(counter: string, opensInMs: number): LimitLine {
    return new LimitLine(counter, performance.now() + opensInMs, this.#limit, {
      onRemoved: (line, waiting) => {
        this.#all.remove(waiting.request.party, waiting);
        if (line.size === 0) this.#lines.delete(line.counter);
      },
      onSchedule: (line) => this.#sweep(line),
    });
  }

  #wait(line: LimitLine, request: LimitRequest, onQueued: (leave: () => void) => void): Promise<LimitOutcome> {
    return new Promise((resolve, reject) => {
      const { maxWaitMs } = request;
      const waiting: Waiting = {
        request,
        dueAt: performance.now() + maxWaitMs + GRACE_MS,
        line,
        onDue() {},
        settle: (outcome) => {
          clearTimeout(timer);
          resolve(outcome);
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => waiting.onDue(), Math.min(maxWaitMs + GRACE_MS, LONGEST_TIMER_MS)).unref();
      this.#add(line, waiting);
      // Its client may have left already: then the function is called at once.
      onQueued(() => {
        if (waiting.line.remove(waiting)) waiting.settle({ kind: "left" });
      });
    });
  }

  #add(line: LimitLine, waiting: Waiting): void {
    waiting.line = line;
    waiting.onDue = () => this.#onDue(waiting);
    this.#lines.set(line.counter, line);
    this.#all.push(waiting.request.party, waiting);
    line.add(waiting);
  }

  /** Its maximum wait is over. A point that becomes free at this very moment is still in time. */
  #onDue(waiting: Waiting): void {
    void waiting.line.pump().then(() => this.#refuse(waiting, "too long"));
  }

  #refuse(waiting: Waiting, reason: LimitRefusalReason): void {
    const { line, request } = waiting;
    if (!line.remove(waiting)) return;
    const state = this.#limit.exceeded(line.waitMs(line.ahead(request.party), performance.now()));
    waiting.settle({ kind: "refused", reason, state });
  }

  /** Refuses requests as soon as they cannot be sent in time. */
  #sweep(line: LimitLine): void {
    const now = performance.now();
    let ahead = 0;
    for (const waiting of line.inOrder()) {
      const at = now + line.waitMs(ahead, now);
      if (at >= this.#drainsAt) this.#refuse(waiting, this.#endReason);
      else if (at > waiting.dueAt) this.#refuse(waiting, "too long");
      else ahead++;
    }
  }
}
