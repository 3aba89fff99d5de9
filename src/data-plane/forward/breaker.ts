/**
 * The circuit breaker of one service: it opens when too many attempts fail, and later lets one attempt through to probe the upstream.
 * Invariant: while it is not closed, at most one attempt counts; an attempt counts once, and only in the state in which it
 * began; one caller's failures do not open it while others succeed; memory is bounded. The clock is monotonic, so a step of the wall
 * clock changes nothing.
 */
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import { BreakerVotes } from "./breaker-votes.ts";
import { isUpstreamsFault } from "./failures.ts";
import { isRetriableStatus } from "./retry.ts";

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
  readonly #unconnectedIn = new Array<number>(BUCKETS).fill(0);
  readonly #votes: BreakerVotes;
  #requests = 0;
  #failures = 0;
  /** Failures before there was a connection: no request can cause them. */
  #unconnected = 0;
  /** Number of the newest tenth, counted from the clock's zero. */
  #tenth = 0;
  #isClosed = true;
  #opensUntil = 0;
  /** Until then the probing attempt is the only one; 0: there is none. */
  #probesUntil = 0;
  #hasProbed = false;
  /** While it is not closed: the only caller whose failures opened it, or the one that probes. Another caller need not wait to probe. */
  #suspect: string | undefined;
  /** Another caller has used that right. */
  #hasProbedEarly = false;
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
    this.#votes = new BreakerVotes(settings.windowMs);
  }

  /** Whether an attempt of this caller would be let through now. @param voter the caller; empty where there is only one. */
  admits(voter: string): boolean {
    return this.#isClosed || this.#mayProbe(this.#now(), voter);
  }

  /**
   * A pass for one attempt, returned with its outcome; NO_PASS where none may be made.
   * @param probeMs how long it may be the only attempt: a client that uploads slowly must not block all others.
   */
  enter(probeMs: number, voter: string): number {
    if (this.#isClosed) return this.#pass;
    const now = this.#now();
    if (!this.#mayProbe(now, voter)) return NO_PASS;
    this.#hasProbedEarly = !this.#isDue(now);
    this.#suspect = voter;
    this.#probesUntil = now + probeMs;
    const pass = ++this.#pass;
    if (!this.#hasProbed) {
      this.#hasProbed = true;
      this.#onChange(this.describe());
    }
    return pass;
  }

  succeeded(pass: number, voter: string): void {
    if (pass !== this.#pass) return;
    if (voter !== "") this.#votes.cast(voter, false, this.#now());
    if (this.#isClosed) this.#count(0);
    else this.#close();
  }

  /** @param wasConnected the request may have reached the upstream, so that its caller may be the cause. */
  failed(pass: number, voter: string, wasConnected: boolean): void {
    if (pass !== this.#pass) return;
    if (voter !== "") this.#votes.cast(voter, true, this.#now());
    if (this.#isClosed) {
      this.#count(1, !wasConnected);
      if (!this.#isOverRatio()) return;
    } else {
      this.#requests++;
      this.#failures++;
    }
    this.#open();
  }

  #isOverRatio(): boolean {
    const { minRequests, failureRatio } = this.#settings;
    const least = failureRatio * this.#requests;
    if (this.#requests < minRequests || this.#failures < least) return false;
    return this.#unconnected >= least || this.#votes.isMajority(failureRatio, this.#now());
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

  /** Without the second case a caller whose own requests fail could probe over and over, and keep all others out. */
  #mayProbe(now: number, voter: string): boolean {
    return this.#isDue(now) || (this.#suspect !== undefined && this.#suspect !== voter && !this.#hasProbedEarly);
  }

  #isDue(now: number): boolean {
    return now >= this.#opensUntil && now >= this.#probesUntil;
  }

  #open(): void {
    this.#pass++;
    // A probe that failed may say no more than that its caller's requests fail.
    if (this.#isClosed) {
      this.#suspect = this.#votes.onlyFailing(this.#now());
      this.#hasProbedEarly = false;
    }
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
    this.#unconnected = 0;
    this.#requestsIn.fill(0);
    this.#failuresIn.fill(0);
    this.#unconnectedIn.fill(0);
    this.#onChange(this.describe());
  }

  #count(failures: 0 | 1, isUnconnected = false): void {
    this.#moveOn(this.#now());
    const bucket = this.#tenth % BUCKETS;
    (this.#requestsIn[bucket] as number)++;
    this.#requests++;
    if (failures === 0) return;
    (this.#failuresIn[bucket] as number)++;
    this.#failures++;
    if (!isUnconnected) return;
    (this.#unconnectedIn[bucket] as number)++;
    this.#unconnected++;
  }

  /** Drops what has left the window. */
  #moveOn(now: number): void {
    const tenth = Math.floor((now * BUCKETS) / this.#settings.windowMs);
    if (tenth <= this.#tenth) return;
    for (let passed = Math.min(tenth - this.#tenth, BUCKETS); passed > 0; passed--) {
      const bucket = (this.#tenth + passed) % BUCKETS;
      this.#requests -= this.#requestsIn[bucket] as number;
      this.#failures -= this.#failuresIn[bucket] as number;
      this.#unconnected -= this.#unconnectedIn[bucket] as number;
      this.#requestsIn[bucket] = 0;
      this.#failuresIn[bucket] = 0;
      this.#unconnectedIn[bucket] = 0;
    }
    this.#tenth = tenth;
  }
}

interface Guarded {
  readonly service: Pick<Service, "key" | "timeoutMs">;
  readonly breaker: CircuitBreaker | undefined;
}

/** An exchange. */
interface Voting {
  /** The caller; empty where only one caller may use the service. */
  readonly voter: string;
}

/** The status of the response, the reason why there was none, or undefined where the attempt says nothing about the upstream. */
export type AttemptOutcome = number | GatewayError | undefined;

/** Refuses where no attempt may be made now; takes no pass. */
export function decideBreaker({ service, breaker }: Guarded, { voter }: Voting): GatewayError | undefined {
  return breaker === undefined || breaker.admits(voter) ? undefined : circuitOpen(service.key, breaker.describe());
}

/**
 * A pass for one attempt; `settleBreaker` returns it.
 * @param lastFailure of the previous attempt. @throws GatewayError the last failure, else CIRCUIT_OPEN, where no attempt may be made.
 */
export function enterBreaker({ service, breaker }: Guarded, { voter }: Voting, lastFailure?: GatewayError): number {
  if (breaker === undefined) return NO_PASS;
  const pass = breaker.enter(service.timeoutMs, voter);
  if (pass === NO_PASS) throw lastFailure ?? circuitOpen(service.key, breaker.describe());
  return pass;
}

/** An attempt that ended. */
interface Settled extends Voting {
  readonly pass: number;
  /** The request may have reached the upstream. */
  readonly wasConnected: boolean;
}

/**
 * Called as soon as the upstream's headers arrive, because a body may take any time. Only what the upstream did counts: a client that
 * left, and a refusal of the gateway, count neither way. Of the statuses, those count by which a gateway or an overloaded upstream
 * says that it cannot serve: a 500 or 501 may be due to the request, and shows that the upstream responds.
 */
export function settleBreaker({ breaker }: Guarded, settled: Settled, outcome: AttemptOutcome): void {
  if (breaker === undefined) return;
  const { pass, voter, wasConnected } = settled;
  if (typeof outcome === "number") {
    if (isRetriableStatus(outcome)) breaker.failed(pass, voter, true);
    else breaker.succeeded(pass, voter);
  } else if (outcome !== undefined && isUpstreamsFault(outcome)) breaker.failed(pass, voter, wasConnected);
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
