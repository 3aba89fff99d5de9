/**
 * One limit of a bucket, as far as one process knows it: until when it holds, what is free of it, and how it is renewed.
 * Invariant: that all of it is there again after a reset is believed only where the vendor says so or where it was seen, and
 * not while others spend of it.
 */
import type { Account } from "../../stores/ledger.ts";
import type { QuotaWindow } from "./read-quota.ts";
import { Refill, type Told } from "./refill.ts";

/** Two answers speak of one window when their resets are this near. */
const SAME_WINDOW_MS = 1_500;

/** A reset that is told in whole seconds is taken for the end of its second. */
const CUT_OFF_MS = 1_000;

export class KnownWindow {
  readonly name: string;
  limit = 0;
  /** ms since the epoch. */
  resetsAt = 0;
  /** Answers in a row that did not tell of it. */
  missed = 0;
  readonly #refill = new Refill();
  /** The least that was told of this window, less what was spent and not told of: what the ledger has. */
  #told = 0;
  /** As told, less what was sent since: never less than what is free. */
  #free = 0;
  /** The longest that was seen from an answer to its reset, ms. */
  #lengthMs = 0;
  /** A new window begins with all of the limit. */
  #isFixed = false;
  /** Requests that the present window may have counted. */
  #sent = 0;
  #sentAt = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Filled up point by point: then its level is kept here, because an account knows of one reset only. */
  get isRefilling(): boolean {
    return this.#refill.isProved;
  }

  isKnown(now: number): boolean {
    return this.resetsAt > now;
  }

  remainingAt(now: number): number {
    return Math.max(0, this.isRefilling ? Math.floor(this.#refill.levelAt(now)) : this.#free);
  }

  /** @returns the reading as it is to be understood, for the ledger. */
  learn(raw: QuotaWindow, told: Told): QuotaWindow {
    const { isRefusal, inFlight, overlapping, sentAt, now } = told;
    this.missed = 0;
    if (isRefusal) this.#refill.disprove();
    else this.#refill.learn(raw, { overlapping, sentAt, now });
    // How long a window still takes is counted from when the answer was written, which may have been when the request was sent.
    const begins = !this.isKnown(now) || raw.resetsAt - (now - sentAt) > this.resetsAt + SAME_WINDOW_MS;
    const isFixed = this.#isFixed || told.hasFixedWindows;
    const resetsAt = begins || !isFixed ? raw.resetsAt : this.#endOf(raw.resetsAt, now - sentAt);
    // What others were told meanwhile is over: they may have taken theirs after this one. Where a reset brings back all of it, those
    // that are still in flight are set aside anyway; elsewhere their answers may be older than this one.
    const taken = isFixed ? Math.max(0, overlapping - inFlight + 1) : overlapping;
    const remaining = begins ? Math.max(0, raw.remaining - taken) : Math.min(this.#told, raw.remaining);
    const reading = { ...raw, resetsAt, remaining };
    // Of a window that is over, or of one before the present one.
    const isLate = resetsAt <= now || (this.isKnown(now) && resetsAt < this.resetsAt - SAME_WINDOW_MS);
    if (isLate && this.limit > 0) return reading;
    const all = Math.max(reading.limit ?? 0, begins || reading.limit !== undefined ? remaining : this.limit);
    if (begins) this.#begin(all, reading, told);
    else {
      this.limit = all;
      this.resetsAt = Math.max(this.resetsAt, resetsAt);
      this.#told = remaining;
      this.#free = Math.min(this.#free, remaining);
      this.#isFixed &&= remaining >= all - this.#sent && !isRefusal;
    }
    this.#lengthMs = Math.max(this.#lengthMs, resetsAt - now);
    return reading;
  }

  /**
   * What looks like a later end is the present window's told by a slow answer, where another window could not end as early; where
   * it could, as it always can where windows slide, the later end is the safe one.
   */
  #endOf(resetsAt: number, tookMs: number): number {
    const another = this.resetsAt + this.#lengthMs - 2 * (CUT_OFF_MS + tookMs);
    return resetsAt < another ? Math.min(resetsAt, this.resetsAt) : resetsAt;
  }

  #begin(told: number, { limit, remaining, resetsAt }: QuotaWindow, { isRefusal, inFlight, now, ...rest }: Told): void {
    const all = limit === undefined ? Math.max(told, remaining + inFlight, this.limit) : told;
    const isFirst = this.limit === 0;
    // What was sent less than a window ago no longer counts, so the window does not slide; nor has it filled up again meanwhile.
    // Some round up what is then taken for cut off: the length may have come out two seconds too long.
    const isRecent = this.#sentAt > now - this.#lengthMs + 2 * CUT_OFF_MS && this.#sentAt < rest.sentAt;
    const isSeen = !isFirst && remaining >= all - 1 && isRecent && this.#refill.isRuledOut;
    const isContradicted = isRefusal || remaining < all - Math.max(inFlight, rest.overlapping + 1);
    this.#isFixed = !isContradicted && (rest.hasFixedWindows || isSeen || this.#isFixed);
    this.limit = all;
    this.resetsAt = resetsAt;
    this.#free = remaining;
    this.#told = remaining;
    this.#sent = inFlight;
    this.#lengthMs = 0;
  }

  /** What was known when the process ended. */
  restore({ limit, remaining, resetsAt }: Account, now: number): void {
    this.limit = limit;
    this.resetsAt = resetsAt;
    this.#free = remaining;
    this.#told = remaining;
    this.#lengthMs = resetsAt - now;
  }

  grant(now: number): void {
    this.#sent++;
    this.#free--;
    this.#refill.spend(1, now);
    // Of the requests that find out what a new window holds nothing can be concluded.
    if (this.isKnown(now)) this.#sentAt = now;
  }

  /** Sent, and no answer told what is left. */
  spend(): void {
    this.#told--;
  }

  /** Nothing was sent. */
  giveBack(now: number): void {
    this.#sent--;
    this.#free++;
    this.#refill.spend(-1, now);
  }

  /** How many may be in flight of which nothing is known: when the window is over its first answer tells what the next one holds. */
  allowanceAt(now: number): number {
    // How many tokens a request takes is not known before.
    if (this.isKnown(now) || this.isRefilling || this.name.includes("token")) return Number.POSITIVE_INFINITY;
    return this.#isFixed ? Math.max(1, this.limit) : 1;
  }

  /** Where it refills, when one more may go, ms since the epoch; else 0, because the ledger knows. */
  freeAt(): number {
    return this.#refill.freeAt(0);
  }

  /** When one may go with so many before it, at the earliest; ms since the epoch. */
  estimate(ahead: number, now: number): number {
    if (this.isRefilling) return this.#refill.freeAt(ahead);
    if (!this.isKnown(now) || ahead < this.#free) return now;
    const windowsLater = Math.floor((ahead - Math.max(0, this.#free)) / Math.max(1, this.limit));
    return this.resetsAt + windowsLater * this.#lengthMs;
  }
}
