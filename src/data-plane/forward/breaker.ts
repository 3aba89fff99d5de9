/**
 * The circuit breaker of one service: it opens when too many attempts fail, and lets one through later to find out.
 * Invariant: while it is not closed at most one attempt is under way; an attempt counts once, and only in the state in which
 * it began; and memory is constant. Pure: the clock comes in, and is monotonic, so that a step of the wall clock changes nothing.
 */
import type { BreakerState, DescribedBreaker } from "./breaker-state.ts";

export interface BreakerSettings {
  /** Share of failures that opens it, above 0, up to 1. */
  readonly failureRatio: number;
  /** Attempts within the window below which it never opens. */
  readonly minRequests: number;
  readonly windowMs: number;
  readonly openMs: number;
}

/** The pass of an attempt that may not be made. */
export const NO_PASS = 0;

/** The window moves on by a tenth of itself. */
const BUCKETS = 10;

export class CircuitBreaker implements DescribedBreaker {
  readonly #settings: BreakerSettings;
  readonly #now: () => number;
  readonly #onChange: (state: BreakerState) => void;
  readonly #requestsIn = new Array<number>(BUCKETS).fill(0);
  readonly #failuresIn = new Array<number>(BUCKETS).fill(0);
  #requests = 0;
  #failures = 0;
  /** Number of the newest tenth since the clock's zero. */
  #tenth = 0;
  #isClosed = true;
  #opensUntil = 0;
  /** Until then the one attempt has its place to itself; 0: nobody has it. */
  #probesUntil = 0;
  #hasProbed = false;
  /** What the attempts of this state have; those of earlier states have another and count no more. */
  #pass = 1;

  /**
   * @param now monotonic, ms.
   * @param onChange told of each opening, each closing and the first attempt in between.
   */
  constructor(settings: BreakerSettings, now: () => number, onChange: (state: BreakerState) => void) {
    this.#settings = settings;
    this.#now = now;
    this.#onChange = onChange;
  }

  /** Whether an attempt would be let through now. */
  get admits(): boolean {
    return this.#isClosed || this.#hasPlace(this.#now());
  }

  /**
   * A pass for one attempt, to be handed back with its outcome; NO_PASS where none may be made.
   * @param placeMs how long it may keep the place of the one attempt: a client that is slow to upload must not keep it for ever.
   */
  enter(placeMs: number): number {
    if (this.#isClosed) return this.#pass;
    const now = this.#now();
    if (!this.#hasPlace(now)) return NO_PASS;
    this.#probesUntil = now + placeMs;
    const pass = ++this.#pass;
    if (!this.#hasProbed) {
      this.#hasProbed = true;
      this.#onChange(this.describe());
    }
    return pass;
  }

  succeeded(pass: number): void {
    if (pass !== this.#pass) return;
    if (this.#isClosed) this.#count(0);
    else this.#close();
  }

  failed(pass: number): void {
    if (pass !== this.#pass) return;
    if (this.#isClosed) {
      this.#count(1);
      const { minRequests, failureRatio } = this.#settings;
      if (this.#requests < minRequests || this.#failures < failureRatio * this.#requests) return;
    } else {
      this.#requests++;
      this.#failures++;
    }
    this.#open();
  }

  /** It ended without a word on the upstream: its place, if it had the one, is the next one's. */
  abandoned(pass: number): void {
    if (pass !== this.#pass || this.#isClosed) return;
    this.#probesUntil = 0;
    this.#pass++;
  }

  describe(): BreakerState {
    const now = this.#now();
    if (this.#isClosed) this.#moveOn(now);
    const isOpen = !this.#isClosed && now < this.#opensUntil;
    return {
      state: this.#isClosed ? "closed" : isOpen ? "open" : "half-open",
      ...{ failures: this.#failures, requests: this.#requests },
      retryAfter: isOpen ? Math.ceil((this.#opensUntil - now) / 1_000) : null,
    };
  }

  #hasPlace(now: number): boolean {
    return now >= this.#opensUntil && now >= this.#probesUntil;
  }

  #open(): void {
    this.#pass++;
    this.#isClosed = false;
    this.#hasProbed = false;
    this.#probesUntil = 0;
    this.#opensUntil = this.#now() + this.#settings.openMs;
    this.#onChange(this.describe());
  }

  #close(): void {
    this.#pass++;
    this.#isClosed = true;
    this.#requests = 0;
    this.#failures = 0;
    this.#requestsIn.fill(0);
    this.#failuresIn.fill(0);
    this.#onChange(this.describe());
  }

  #count(failures: 0 | 1): void {
    this.#moveOn(this.#now());
    const bucket = this.#tenth % BUCKETS;
    (this.#requestsIn[bucket] as number)++;
    this.#requests++;
    if (failures === 0) return;
    (this.#failuresIn[bucket] as number)++;
    this.#failures++;
  }

  /** Drops what has left the window. */
  #moveOn(now: number): void {
    const tenth = Math.floor((now * BUCKETS) / this.#settings.windowMs);
    if (tenth <= this.#tenth) return;
    for (let passed = Math.min(tenth - this.#tenth, BUCKETS); passed > 0; passed--) {
      const bucket = (this.#tenth + passed) % BUCKETS;
      this.#requests -= this.#requestsIn[bucket] as number;
      this.#failures -= this.#failuresIn[bucket] as number;
      this.#requestsIn[bucket] = 0;
      this.#failuresIn[bucket] = 0;
    }
    this.#tenth = tenth;
  }
}
