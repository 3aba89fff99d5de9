/**
 * What is known of one bucket, and the requests that wait for it. Times are ms since the epoch.
 * Invariant: while no limit is known, one request is sent and the others wait for its response; once a limit is known, the ledger
 * decides.
 */
import { FairQueue } from "../../fair-queue.ts";
import type { Account } from "../../stores/ledger.ts";
import type { Costs } from "./gates.ts";
import { withTrials } from "./long-hold.ts";
import type { QuotaReading, QuotaWindow } from "./read-quota.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";
import { KnownWindow, type Observation } from "./window.ts";

/** A request that waits in a bucket. */
export interface Waiting {
  readonly request: QuotaRequest;
  readonly costs: Costs;
  readonly lane: string;
  readonly since: number;
  bucket: Bucket;
  settle(outcome: Ticket | QuotaRefusal | undefined): void;
}

/** While no limit is known, another request is sent this long after the last one, even if that one has no response yet, ms. */
const PROBE_INTERVAL_MS = 1_000;

/** A limit is forgotten after this many responses in a row that do not report it. */
const MISSED_LIMIT = 10;

/** The longest wait for an upstream that refuses without giving a time, ms. */
const LONGEST_GUESS_MS = 60_000;

const NOT_MODIFIED = 304;

/** Windows of one bucket: an upstream that invents names cannot fill the memory. */
const WINDOWS_LIMIT = 16;

export class Bucket {
  /** Changes when a response names it. */
  key: string;
  readonly triesLongHolds: boolean;
  /** The bucket that this one turned into. */
  mergedInto: Bucket | undefined;
  /** Lanes with waiting requests. */
  readonly lanes = new Map<string, FairQueue<Waiting>>();
  inFlight = 0;
  /** Requests sent so far. */
  sent = 0;
  /** Nothing is sent before then. */
  closedUntil = 0;
  /** The ledger has nothing before then, unless a reservation is released. */
  askAgainAt = 0;
  /** Incremented when something changed that may change the ledger's decision. */
  changes = 0;
  /** The window's end for which the waiting requests were last checked. */
  sweptFor = 0;
  readonly #windows = new Map<string, KnownWindow>();
  /** Requests in flight while no limit is known. */
  #allowance = 1;
  /** Requests sent while no limit is known, with no report of what they used. */
  #unaccounted = 0;
  #refusedInRow = 0;
  #wasRefused = false;
  #grantedAt = 0;
  /** The last response, or the first request in flight after it. */
  #silentSince = 0;

  /** @param triesLongHolds one request a minute is sent despite a hold of more than an hour. */
  constructor(key: string, triesLongHolds = false) {
    this.key = key;
    this.triesLongHolds = triesLongHolds;
  }

  get waiting(): number {
    let sum = 0;
    for (const { size } of this.lanes.values()) sum += size;
    return sum;
  }

  push(waiting: Waiting): void {
    const lane = this.lanes.get(waiting.lane) ?? new FairQueue<Waiting>();
    this.lanes.set(waiting.lane, lane);
    lane.push(waiting.request.callerId, waiting);
  }

  /** @param wasSent its caller moves behind the others. */
  remove(waiting: Waiting, wasSent = false): void {
    const { lane: name, request } = waiting;
    const lane = this.lanes.get(name);
    if (wasSent) lane?.shift(request.callerId, waiting);
    else lane?.remove(request.callerId, waiting);
    if (lane?.size === 0) this.lanes.delete(name);
  }

  /** The requests certain to be sent before a caller's next one. Other lanes are left out: they may have to wait longer. */
  before(callerId: string, lane: string): Iterable<Waiting> {
    return this.lanes.get(lane)?.before(callerId) ?? [];
  }

  /** All waiting requests, lane by lane, in the order in which they are sent. */
  *inOrder(): Generator<Waiting> {
    for (const lane of this.lanes.values()) yield* lane.inOrder();
  }

  get windows(): Iterable<KnownWindow> {
    return this.#windows.values();
  }

  #isKnown(now: number): boolean {
    for (const window of this.#windows.values()) if (window.isKnown(now)) return true;
    return false;
  }

  /** When the bucket itself allows one more request, before the ledger is asked. */
  freeAt(now: number): number {
    let at = Math.max(this.closedUntil, this.#windows.size === 0 ? this.#unlimitedFreeAt(now) : now);
    let allowance = Number.POSITIVE_INFINITY;
    for (const window of this.#windows.values()) {
      at = Math.max(at, window.freeAt());
      allowance = Math.min(allowance, window.allowanceAt(now));
    }
    const isExceeded = this.inFlight + this.#unaccounted >= allowance;
    return Math.max(now, this.trialOr(at, now), isExceeded ? this.#grantedAt + PROBE_INTERVAL_MS : 0);
  }

  /** When a request may be sent despite a hold until `end`. */
  trialOr(end: number, now: number, ahead = 0): number {
    return this.triesLongHolds ? withTrials(end, this.#grantedAt, now, ahead) : end;
  }

  /** A trial had a response: what was known has proved wrong, or the response says it again. */
  forgetHolds(): void {
    this.closedUntil = 0;
    this.askAgainAt = 0;
    this.#windows.clear();
  }

  /**
   * No limit was ever reported. The number of requests doubles with each interval without a response: most upstreams have no
   * limit, and a slow one, with a first response after half a minute, must not get one request at a time.
   */
  #unlimitedFreeAt(now: number): number {
    if (this.inFlight < this.#allowance) return now;
    if (this.#wasRefused) return this.#grantedAt + PROBE_INTERVAL_MS;
    const doublings = Math.floor(Math.log2(this.inFlight / this.#allowance)) + 1;
    return this.#silentSince + doublings * PROBE_INTERVAL_MS;
  }

  grant(now: number): void {
    if (this.inFlight === 0) this.#silentSince = now;
    this.inFlight++;
    this.sent++;
    this.#grantedAt = now;
    for (const window of this.#windows.values()) window.grant(now);
  }

  /** The ticket of one request has ended. */
  end(how: "responded" | "lost" | "unused", now: number): void {
    this.inFlight--;
    if (how === "unused") for (const window of this.#windows.values()) window.refund(now);
    if (how === "lost") for (const window of this.#windows.values()) window.spend();
    if (how === "lost" && !this.#isKnown(now)) this.#unaccounted++;
  }

  /** @returns the corrected windows, for the ledger. */
  learn(status: number, { windows }: QuotaReading, observation: Observation): readonly QuotaWindow[] {
    const { now, isRefusal } = observation;
    this.#silentSince = now;
    this.#refusedInRow = isRefusal ? this.#refusedInRow + 1 : 0;
    const inFlight = Math.max(1, this.inFlight + this.#unaccounted);
    const corrected: QuotaWindow[] = [];
    for (const window of windows) {
      const known = this.#windows.get(window.name) ?? this.#newWindow(window.name, now);
      if (known === undefined) continue;
      // A conditional request costs nothing at GitHub, and a point elsewhere.
      if (status === NOT_MODIFIED) known.regain();
      corrected.push(known.learn(window, { ...observation, inFlight }));
      this.#windows.set(window.name, known);
    }
    for (const window of this.#windows.values()) {
      if (windows.some(({ name }) => name === window.name)) continue;
      window.missed++;
      window.spend();
      if (window.missed >= MISSED_LIMIT && !window.isKnown(now)) this.#windows.delete(window.name);
    }
    if (windows.length === 0) this.#learnSilence(status, isRefusal, now);
    else if (this.#isKnown(now)) this.#unaccounted = 0;
    return corrected;
  }

  /** Undefined when the bucket has more windows than any real upstream reports. */
  #newWindow(name: string, now: number): KnownWindow | undefined {
    if (this.#windows.size >= WINDOWS_LIMIT) {
      for (const [other, window] of this.#windows) if (!window.isKnown(now)) this.#windows.delete(other);
    }
    return this.#windows.size < WINDOWS_LIMIT ? new KnownWindow(name) : undefined;
  }

  #learnSilence(status: number, isRefusal: boolean, now: number): void {
    if (this.#windows.size > 0 && !this.#isKnown(now)) this.#unaccounted++;
    else this.#unaccounted = 0;
    if (isRefusal) {
      this.#wasRefused = true;
      this.#allowance = 1;
    }
    // A failed request may not have reached the part of the upstream that counts: it proves nothing.
    else if (this.#wasRefused || status >= 400) this.#allowance += 1;
    else this.#allowance = Number.POSITIVE_INFINITY;
  }

  /** Each refusal in a row that gives no time doubles the wait. @returns its end. */
  guess(until: number, now: number): number {
    const factor = 2 ** Math.min(10, this.#refusedInRow - 1);
    return now + Math.max(until - now, Math.min(LONGEST_GUESS_MS, (until - now) * factor));
  }

  /** From the ledger, after a restart. */
  restore(name: string, account: Account, now: number): void {
    const window = new KnownWindow(name);
    window.restore(account, now);
    this.#windows.set(name, window);
  }

  /** The earliest known time for a request with `ahead` others ahead of it. */
  estimate(ahead: number, now: number): number {
    let at = Math.max(now, this.closedUntil);
    for (const window of this.#windows.values()) at = Math.max(at, window.estimate(ahead, now));
    return this.trialOr(at, now, ahead);
  }

  /** Takes over what the other bucket knows, and its requests in flight. */
  absorb(other: Bucket): void {
    this.inFlight += other.inFlight;
    this.sent += other.sent;
    this.closedUntil = Math.max(this.closedUntil, other.closedUntil);
    for (const window of other.windows) if (!this.#windows.has(window.name)) this.#windows.set(window.name, window);
    other.mergedInto = this;
    other.inFlight = 0;
  }

  /** It can be dropped without a loss. */
  isIdle(now: number): boolean {
    return this.inFlight === 0 && this.lanes.size === 0 && this.closedUntil <= now && !this.#isKnown(now);
  }
}
