/**
 * One limit of a bucket as this process knows it: when it ends, what is free, and how it is renewed. Times are ms since the epoch.
 * Invariant: a reset is assumed to restore the whole limit only if the vendor documents it or if it was observed, and not while
 * other clients spend from it.
 */
import type { Account } from "../../stores/ledger.ts";
import type { QuotaWindow } from "./read-quota.ts";

/** The circumstances of a reading. */
export interface Observation {
  /** The response refused the request for its limits. */
  readonly isRefusal: boolean;
  /** Requests that the response may have counted, including its own: at least 1. */
  readonly inFlight: number;
  /** Other requests that were in flight during this one: each may have been counted before or after it. */
  readonly overlapping: number;
  readonly sentAt: number;
  readonly now: number;
  readonly hasFixedWindows: boolean;
}

/** Two responses report the same window if their resets are this close. */
const SAME_WINDOW_MS = 1_500;

/** A reset in whole seconds is read as the end of its second. */
const CUT_OFF_MS = 1_000;

export class KnownWindow {
  readonly name: string;
  limit = 0;
  resetsAt = 0;
  /** Responses in a row that did not report it. */
  missed = 0;
  readonly #refill = new Refill();
  /** The least that was reported of this window, minus what was sent without a report: what the ledger has. */
  #reported = 0;
  /** As reported, minus what was sent since: a lower bound of what is free. */
  #free = 0;
  /** The longest time seen from a response to its reset, ms. */
  #lengthMs = 0;
  /** A new window begins with the whole limit. */
  #isFixed = false;
  /** Requests that the present window may have counted. */
  #sent = 0;
  #sentAt = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** It refills point by point. Its level is kept here, because a ledger account has only one reset. */
  get isRefilling(): boolean {
    return this.#refill.isProved;
  }

  isKnown(now: number): boolean {
    return this.resetsAt > now;
  }

  remainingAt(now: number): number {
    return Math.max(0, this.isRefilling ? Math.floor(this.#refill.levelAt(now)) : this.#free);
  }

  /** @returns the corrected reading, for the ledger. */
  learn(raw: QuotaWindow, observation: Observation): QuotaWindow {
    const { isRefusal, inFlight, overlapping, sentAt, now } = observation;
    this.missed = 0;
    if (isRefusal) this.#refill.disprove();
    else this.#refill.learn(raw, observation);
    // An interval to the reset counts from when the response was written, which may have been as early as the request was sent.
    const begins = !this.isKnown(now) || raw.resetsAt - (now - sentAt) > this.resetsAt + SAME_WINDOW_MS;
    const isFixed = this.#isFixed || observation.hasFixedWindows;
    const resetsAt = begins || !isFixed ? raw.resetsAt : this.#endOf(raw.resetsAt, now - sentAt);
    // Requests that overlapped this one may have been counted after it. In fixed windows those still in flight are reserved anyway;
    // elsewhere their responses may be older than this one.
    const taken = isFixed ? Math.max(0, overlapping - inFlight + 1) : overlapping;
    const remaining = begins ? Math.max(0, raw.remaining - taken) : Math.min(this.#reported, raw.remaining);
    const reading = { ...raw, resetsAt, remaining };
    // The reading is of a window that has ended, or of one before the present one.
    const isLate = resetsAt <= now || (this.isKnown(now) && resetsAt < this.resetsAt - SAME_WINDOW_MS);
    if (isLate && this.limit > 0) return reading;
    const all = Math.max(reading.limit ?? 0, begins || reading.limit !== undefined ? remaining : this.limit);
    if (begins) this.#begin(all, reading, observation);
    else {
      this.limit = all;
      this.resetsAt = Math.max(this.resetsAt, resetsAt);
      this.#reported = remaining;
      this.#free = Math.min(this.#free, remaining);
      this.#isFixed &&= remaining >= all - this.#sent && !isRefusal;
    }
    this.#lengthMs = Math.max(this.#lengthMs, resetsAt - now);
    return reading;
  }

  /**
   * A slow response makes the present window's end seem later. The earlier end is used if another window could not end by then;
   * otherwise, as always with sliding windows, the later end is the safe one.
   */
  #endOf(resetsAt: number, tookMs: number): number {
    const another = this.resetsAt + this.#lengthMs - 2 * (CUT_OFF_MS + tookMs);
    return resetsAt < another ? Math.min(resetsAt, this.resetsAt) : resetsAt;
  }

  #begin(assumedLimit: number, { limit, remaining, resetsAt }: QuotaWindow, observation: Observation): void {
    const { isRefusal, inFlight, overlapping, sentAt, now, hasFixedWindows } = observation;
    const all = limit === undefined ? Math.max(assumedLimit, remaining + inFlight, this.limit) : assumedLimit;
    const isFirst = this.limit === 0;
    // A request sent less than a window ago no longer counts, so the window does not slide; and it has not refilled meanwhile.
    // Some upstreams round up what is then read as cut off: the length may be two seconds too long.
    const isRecent = this.#sentAt > now - this.#lengthMs + 2 * CUT_OFF_MS && this.#sentAt < sentAt;
    const isSeen = !isFirst && remaining >= all - 1 && isRecent && this.#refill.isRuledOut;
    const isContradicted = isRefusal || remaining < all - Math.max(inFlight, overlapping + 1);
    this.#isFixed = !isContradicted && (hasFixedWindows || isSeen || this.#isFixed);
    this.limit = all;
    this.resetsAt = resetsAt;
    this.#free = remaining;
    this.#reported = remaining;
    this.#sent = inFlight;
    this.#lengthMs = 0;
  }

  /** From the ledger, after a restart. */
  restore({ limit, remaining, resetsAt }: Account, now: number): void {
    this.limit = limit;
    this.resetsAt = resetsAt;
    this.#free = remaining;
    this.#reported = remaining;
    this.#lengthMs = resetsAt - now;
  }

  grant(now: number): void {
    this.#sent++;
    this.#free--;
    this.#refill.spend(1, now);
    // Requests that find out what a new window holds prove nothing.
    if (this.isKnown(now)) this.#sentAt = now;
  }

  /** A request was sent, and no response reported what is left. */
  spend(): void {
    this.#reported--;
  }

  /** Nothing was sent. */
  refund(now: number): void {
    this.#sent--;
    this.#free++;
    this.#refill.spend(-1, now);
  }

  /** A response says that its request may have cost nothing; what it reports to be left decides. */
  regain(): void {
    this.#free++;
  }

  /** Requests that may be in flight without a report. After a window ended, its first response reports what the next one holds. */
  allowanceAt(now: number): number {
    // The number of tokens that a request takes is not known in advance.
    if (this.isKnown(now) || this.isRefilling || this.name.includes("token")) return Number.POSITIVE_INFINITY;
    return this.#isFixed ? Math.max(1, this.limit) : 1;
  }

  /** When one more request may be sent, if the window refills; otherwise 0, because the ledger decides. */
  freeAt(): number {
    return this.#refill.freeAt(0);
  }

  /** The earliest time for a request with `ahead` others ahead of it. */
  estimate(ahead: number, now: number): number {
    if (this.isRefilling) return this.#refill.freeAt(ahead);
    if (!this.isKnown(now) || ahead < this.#free) return now;
    const windowsLater = Math.floor((ahead - Math.max(0, this.#free)) / Math.max(1, this.limit));
    return this.resetsAt + windowsLater * this.#lengthMs;
  }
}

/** The error of a reported reset: it is rounded to a second and then read as cut off, and the response spent time in transit. */
const ROUNDED_MS = 2_000;
const TRAVEL_MS = 250;

/** Readings that must agree as proof; the most used must differ from the least used by this many points and this much time. */
const AGREEING = 16;
const SPREAD_POINTS = 8;
const SPREAD_MS = 3_000;

/** A request that is sent later may arrive earlier: a point is spent this long after it is there. */
const MARGIN_MS = 250;

interface Usage {
  readonly used: number;
  readonly resetMs: number;
}

/**
 * A limit that refills point by point (a token or leaky bucket). It differs from one that is renewed at once: its reset is later the
 * more of it is used. Its level is never overestimated, as long as no other client spends from it.
 */
class Refill {
  /** Bounds for how long one point takes, from all readings so far. */
  #leastMs = 0;
  #mostMs = Number.POSITIVE_INFINITY;
  #agreeing = 0;
  #hasDisagreed = false;
  #leastUsed: Usage | undefined;
  #mostUsed: Usage | undefined;
  /** Undefined until it is proved. */
  #pointMs: number | undefined;
  #limit = 0;
  /** Points at the time `#at`, minus those of requests in flight. */
  #level = 0;
  #at = 0;

  get isProved(): boolean {
    return this.#pointMs !== undefined;
  }

  learn(window: QuotaWindow, { overlapping, sentAt, now }: Observation): void {
    const { limit, remaining, resetsAt, pointMs } = window;
    if (limit === undefined) return;
    this.#limit = limit;
    const wasProved = this.isProved;
    if (pointMs === undefined) this.#weigh(limit - remaining, resetsAt - now);
    else this.#pointMs = pointMs;
    if (this.#pointMs === undefined) return;
    // All overlapping requests may have been counted after this one.
    const atLeast = remaining - overlapping;
    // The level was measured after the request was sent, so it cannot have grown by more since then.
    const atMost = remaining + (now - sentAt) / this.#pointMs;
    this.#level = wasProved ? Math.max(atLeast, Math.min(this.levelAt(now), atMost)) : atLeast;
    this.#at = now;
  }

  /** Some readings contradict such a limit. */
  get isRuledOut(): boolean {
    return this.#hasDisagreed;
  }

  disprove(): void {
    this.#pointMs = undefined;
    this.#leastMs = 0;
    this.#mostMs = Number.POSITIVE_INFINITY;
    this.#agreeing = 0;
    this.#leastUsed = undefined;
    this.#mostUsed = undefined;
  }

  spend(points: number, now: number): void {
    if (this.#pointMs === undefined) return;
    this.#level = this.levelAt(now) - points;
    this.#at = now;
  }

  levelAt(now: number): number {
    const grown = this.#pointMs === undefined ? 0 : (now - this.#at) / this.#pointMs;
    return Math.min(this.#limit, this.#level + Math.max(0, grown));
  }

  /** When one more request may be sent after `ahead` others; now or in the past if it may be sent already. */
  freeAt(ahead: number): number {
    if (this.#pointMs === undefined) return 0;
    const missing = ahead + 1 - this.#level;
    // With more than the margin's worth of points there is nothing to wait for.
    if (missing * this.#pointMs <= -MARGIN_MS) return 0;
    return Math.ceil(this.#at + missing * this.#pointMs + MARGIN_MS);
  }

  #weigh(used: number, resetMs: number): void {
    if (used < 1) return;
    const leastMs = Math.max(0, resetMs - ROUNDED_MS) / used;
    const mostMs = used < 2 ? Number.POSITIVE_INFINITY : (resetMs + TRAVEL_MS) / (used - 1);
    if (leastMs > this.#mostMs || mostMs < this.#leastMs) {
      this.#hasDisagreed = true;
      this.disprove();
    }
    this.#leastMs = Math.max(this.#leastMs, leastMs);
    this.#mostMs = Math.min(this.#mostMs, mostMs);
    this.#agreeing++;
    if (used < (this.#leastUsed?.used ?? Number.POSITIVE_INFINITY)) this.#leastUsed = { used, resetMs };
    if (used > (this.#mostUsed?.used ?? 0)) this.#mostUsed = { used, resetMs };
    const [least, most] = [this.#leastUsed, this.#mostUsed];
    if (this.#agreeing < AGREEING || least === undefined || most === undefined) return;
    const isSpread = most.used - least.used >= SPREAD_POINTS && most.resetMs - least.resetMs >= SPREAD_MS;
    // The longest possible time per point is the safe one.
    if (isSpread) this.#pointMs = this.#mostMs;
  }
}
