/**
 * The circuit breaker of one service: it opens when too many attempts fail, and later lets one attempt through to probe the upstream.
 * Invariant: while it is not closed, at most one attempt is in flight; an attempt counts once, and only in the state in which it
 * began; memory is constant. The clock is monotonic, so a step of the wall clock changes nothing.
 */
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import { isUpstreamsFault } from "./failures.ts";

/** The state of a service's breaker, as status, metrics and checks show it. */
export interface BreakerState {
  /** `half-open`: the next attempt, or the one in flight, probes the upstream. */
  readonly state: "closed" | "open" | "half-open";
  /** Failed attempts among `requests`. */
  readonly failures: number;
  /** Attempts within the window; while it is not closed, those that opened it and the probes since. */
  readonly requests: number;
  /** Seconds until one attempt is let through, rounded up; null unless it is open. */
  readonly retryAfter: number | null;
}

/** @see CircuitBreaker */
export interface DescribedBreaker {
  describe(): BreakerState;
}

export interface BreakerSettings {
  /** Share of failures that opens it, above 0, up to 1. */
  readonly failureRatio: number;
  /** It never opens with fewer attempts in the window. */
  readonly minRequests: number;
  readonly windowMs: number;
  readonly openMs: number;
}

/** No attempt may be made. */
export const NO_PASS = 0;

/** The window advances by a tenth of its length. */
const BUCKETS = 10;

export class CircuitBreaker implements DescribedBreaker {
  readonly #settings: BreakerSettings;
  readonly #now: () => number;
  readonly #onChange: (state: BreakerState) => void;
  readonly #requestsIn = new Array<number>(BUCKETS).fill(0);
  readonly #failuresIn = new Array<number>(BUCKETS).fill(0);
  #requests = 0;
  #failures = 0;
  /** Number of the newest tenth, counted from the clock's zero. */
  #tenth = 0;
  #isClosed = true;
  #opensUntil = 0;
  /** Until then the probing attempt is the only one; 0: there is none. */
  #probesUntil = 0;
  #hasProbed = false;
  /** Given to the attempts of this state; those of earlier states have another one and no longer count. */
  #pass = 1;

  /**
   * @param now monotonic, ms.
   * @param onChange called for each opening, each closing and the first attempt in between.
   */
  constructor(
    settings: BreakerSettings,
    onChange: (state: BreakerState) => void,
    now: () => number = () => performance.now(),
  ) {
    this.#settings = settings;
    this.#now = now;
    this.#onChange = onChange;
  }

  /** Whether an attempt would be let through now. */
  get admits(): boolean {
    return this.#isClosed || this.#mayProbe(this.#now());
  }

  /**
   * A pass for one attempt, returned with its outcome; NO_PASS where none may be made.
   * @param probeMs how long it may be the only attempt: a client that uploads slowly must not block all others.
   */
  enter(probeMs: number): number {
    if (this.#isClosed) return this.#pass;
    const now = this.#now();
    if (!this.#mayProbe(now)) return NO_PASS;
    this.#probesUntil = now + probeMs;
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

  /** The attempt ended without a statement about the upstream: the next attempt may probe instead. */
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
      failures: this.#failures,
      requests: this.#requests,
      retryAfter: isOpen ? Math.ceil((this.#opensUntil - now) / 1_000) : null,
    };
  }

  #mayProbe(now: number): boolean {
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

interface Guarded {
  readonly service: Pick<Service, "key" | "timeoutMs">;
  readonly breaker: CircuitBreaker | undefined;
}

/** The status of the response, the reason why there was none, or undefined where the attempt says nothing about the upstream. */
export type AttemptOutcome = number | GatewayError | undefined;

/** Refuses where no attempt may be made now; takes no pass. */
export function decideBreaker({ service, breaker }: Guarded): GatewayError | undefined {
  return breaker === undefined || breaker.admits ? undefined : circuitOpen(service.key, breaker.describe());
}

/**
 * A pass for one attempt; `settleBreaker` returns it.
 * @param lastFailure of the previous attempt. @throws GatewayError the last failure, else CIRCUIT_OPEN, where no attempt may be made.
 */
export function enterBreaker({ service, breaker }: Guarded, lastFailure?: GatewayError): number {
  if (breaker === undefined) return NO_PASS;
  const pass = breaker.enter(service.timeoutMs);
  if (pass === NO_PASS) throw lastFailure ?? circuitOpen(service.key, breaker.describe());
  return pass;
}

/**
 * Called as soon as the upstream's headers arrive, because a body may take any time. Only what the upstream did counts: a client that
 * left, and a refusal of the gateway, count neither way.
 */
export function settleBreaker({ breaker }: Guarded, pass: number, outcome: AttemptOutcome): void {
  if (breaker === undefined) return;
  if (typeof outcome === "number") {
    if (outcome < 500) breaker.succeeded(pass);
    else breaker.failed(pass);
  } else if (outcome !== undefined && isUpstreamsFault(outcome)) breaker.failed(pass);
  else breaker.abandoned(pass);
}

function circuitOpen(serviceKey: string, { failures, requests, retryAfter }: BreakerState): GatewayError {
  const next =
    retryAfter === null
      ? "one attempt is probing it"
      : `the next attempt is possible in ${plural(retryAfter, "second")}`;
  return new GatewayError("CIRCUIT_OPEN", {
    message: `${failures} of ${requests} attempts at ${serviceKey} failed; ${next}.`,
    headers: ["Retry-After", String(retryAfter ?? 1)],
  });
}
