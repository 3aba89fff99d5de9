/**
 * The requests that wait for one counter of a rate limit, fair between callers, first come first served within one.
 * Invariant: each request that is admitted has spent one point in the store, so that no window has more than its maxRequests.
 */
import { FairQueue } from "../fair-queue.ts";
import { Pump } from "../pump.ts";
import type { LimitState, LimitSubject } from "./limit-state.ts";

/** A request that may wait for a limit. */
export interface LimitRequest {
  readonly subject: LimitSubject;
  /** Whose place in the queue it uses: callers alternate. */
  readonly party: string;
  readonly maxWaitMs: number;
  /** Whether its caller lost its permission to send requests. */
  readonly isOver?: () => boolean;
}

/** Why a request is not sent. */
export type LimitRefusalReason = "too long" | "queue full" | EndReason;

/** The process ends, or the service was removed. */
export type EndReason = "draining" | "removed";

export type LimitOutcome =
  /** The state is undefined where the limit was removed while the request waited. */
  | { readonly kind: "admitted"; readonly state: LimitState | undefined }
  /** `resetMs` of the state: the time until the request could be sent. */
  | { readonly kind: "refused"; readonly reason: LimitRefusalReason; readonly state: LimitState }
  /** No point was spent: its caller may send no more requests, or its client left. */
  | { readonly kind: "over" | "left" };

export interface Waiting {
  readonly request: LimitRequest;
  /** On the clock of performance.now(), ms. */
  readonly dueAt: number;
  line: LimitLine;
  /** Called when its maximum wait is over. */
  onDue: () => void;
  settle(outcome: LimitOutcome): void;
  fail(error: unknown): void;
}

export interface LineRules {
  readonly maxRequests: number;
  readonly windowMs: number;
  /** Spends one point of a counter. */
  spend(counter: string): Promise<LimitState>;
}

interface LineEvents {
  /** Called for each request that left the queue. */
  onRemoved(line: LimitLine, waiting: Waiting): void;
  /** Called when a window is used up, or when the next one has moved. */
  onSchedule(line: LimitLine): void;
}

/** A window begins this much after the end of the one before, ms: timers are never early, and always a little late. */
const TIMER_DELAY_MS = 2;

/** The store is asked at least this often, ms: its windows follow the wall clock, which may be set. */
const CHECK_MS = 1_000;

/** The waiting requests are checked again when the next window moves by this much, ms. */
const MOVED_MS = 50;

export class LimitLine {
  readonly counter: string;
  readonly #rules: LineRules;
  readonly #events: LineEvents;
  readonly #queue = new FairQueue<Waiting>();
  /** When the next window begins, on the clock of performance.now(), ms. */
  #opensAt: number;
  /** Its value for which the waiting requests were last checked. */
  #scheduledAt: number;
  readonly #pump = new Pump(() => this.#sendNext());
  #timer: NodeJS.Timeout | undefined;

  constructor(counter: string, opensAt: number, rules: LineRules, events: LineEvents) {
    this.counter = counter;
    this.#opensAt = opensAt;
    this.#scheduledAt = opensAt;
    this.#rules = rules;
    this.#events = events;
  }

  get size(): number {
    return this.#queue.size;
  }

  /** Requests that are sent before a new one of this party. */
  ahead(party: string): number {
    return this.#queue.countBefore(party);
  }

  /** ms until a request with so many others ahead of it can be sent. */
  waitMs(ahead: number, now: number): number {
    const { maxRequests, windowMs } = this.#rules;
    return Math.max(0, this.#opensAt - now) + Math.floor(ahead / maxRequests) * (windowMs + TIMER_DELAY_MS);
  }

  /** In the order in which they are sent. */
  inOrder(): readonly Waiting[] {
    return [...this.#queue.inOrder()];
  }

  add(waiting: Waiting): void {
    this.#queue.push(waiting.request.party, waiting);
    void this.pump();
  }

  /** @returns false if it was not in the queue. */
  remove(waiting: Waiting): boolean {
    if (!this.#queue.remove(waiting.request.party, waiting)) return false;
    this.#removed(waiting);
    return true;
  }

  /** The counts start again. */
  reopen(): void {
    this.#opensAt = 0;
    void this.pump();
  }

  /** Sends every request that the window allows. Resolves when it allows no more. */
  pump(): Promise<void> {
    return this.#pump.run();
  }

  /** @returns whether there may be another one. */
  async #sendNext(): Promise<boolean> {
    if (this.#next() === undefined) return false;
    if (this.#opensAt > performance.now()) return this.#sleep();
    let state: LimitState;
    try {
      state = await this.#rules.spend(this.counter);
    } catch (error) {
      // The store failed: it would fail for the others, too.
      for (const waiting of this.inOrder()) if (this.remove(waiting)) waiting.fail(error);
      return false;
    }
    if (state.isExceeded) {
      this.#opensAt = performance.now() + Math.max(1, state.resetMs);
      // Most of the time the store only confirms what is known.
      if (Math.abs(this.#opensAt - this.#scheduledAt) > MOVED_MS) this.#schedule();
      return this.#sleep();
    }
    if (state.remaining === 0) this.#opensAt = performance.now() + state.resetMs;
    // Chosen after the store was asked: the point of a client that left in between is the next one's.
    const waiting = this.#next();
    if (waiting === undefined) return false;
    this.#queue.shift(waiting.request.party, waiting);
    this.#removed(waiting);
    waiting.settle({ kind: "admitted", state });
    if (state.remaining === 0) this.#schedule();
    return true;
  }

  #schedule(): void {
    this.#scheduledAt = this.#opensAt;
    this.#events.onSchedule(this);
  }

  #next(): Waiting | undefined {
    for (;;) {
      const waiting = this.#queue.peek();
      if (waiting?.request.isOver?.() !== true) return waiting;
      this.remove(waiting);
      waiting.settle({ kind: "over" });
    }
  }

  #sleep(): false {
    if (this.#queue.size === 0) return false;
    const sleepMs = Math.ceil(Math.min(CHECK_MS, this.#opensAt - performance.now()));
    // The wait of a request keeps the process running by its socket.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#opensAt = Math.min(this.#opensAt, performance.now());
      void this.pump();
    }, sleepMs).unref();
    return false;
  }

  #removed(waiting: Waiting): void {
    if (this.#queue.size === 0) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
    }
    this.#events.onRemoved(this, waiting);
  }
}
