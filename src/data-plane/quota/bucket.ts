/**
 * What is known of one bucket, and who waits for it.
 * Invariant: where nothing is known one request goes ahead and the others wait for what it is told; where something is known
 * the ledger decides.
 */
import type { Account } from "../../stores/ledger.ts";
import { FairQueue } from "./fair-queue.ts";
import type { QuotaWindow } from "./read-quota.ts";

/** As far as one process knows it; the account itself is the ledger's. */
interface KnownWindow {
  readonly limit: number;
  readonly resetsAt: number;
  remaining: number;
  /** The longest that was seen from an answer to its reset, ms. */
  readonly lengthMs: number;
  /** A new window began with all of the limit: the next one will, too. */
  readonly isFixed: boolean;
  /** Requests of this window that were sent. */
  sent: number;
  /** Answers in a row that did not tell of it. */
  missed: number;
}

/** Where no limit is told, a request is let go ahead after so long, ms, though the one before has not been answered. */
const PATIENCE_MS = 1_000;

/** A limit that so many answers in a row are silent on is one no more. */
const MISSED_LIMIT = 10;

/** Two answers speak of one window when their resets are this near. */
const SAME_WINDOW_MS = 1_500;

export class Bucket<T> {
  readonly key: string;
  readonly queue = new FairQueue<T>();
  inFlight = 0;
  /** Nothing goes before then, ms since the epoch. */
  closedUntil = 0;
  readonly #windows = new Map<string, KnownWindow>();
  /** Requests in flight while nothing is known. */
  #allowance = 1;
  #wasRefused = false;
  #grantedAt = 0;

  constructor(key: string) {
    this.key = key;
  }

  /** Names of the accounts that a request is counted on, those whose next window has not begun among them. */
  get windows(): readonly string[] {
    return [...this.#windows.keys()];
  }

  #isKnown(now: number): boolean {
    for (const { resetsAt } of this.#windows.values()) if (resetsAt > now) return true;
    return false;
  }

  /** What the bucket itself says, before the ledger is asked: when one more may go, ms since the epoch. */
  freeAt(now: number): number {
    if (this.closedUntil > now) return this.closedUntil;
    return this.inFlight < this.#allowanceAt(now) ? now : this.#grantedAt + PATIENCE_MS;
  }

  /** How many may be in flight while there are limits of which nothing is known. */
  #allowanceAt(now: number): number {
    if (this.#windows.size === 0) return this.#allowance;
    let allowance = Number.POSITIVE_INFINITY;
    for (const [name, { isFixed, limit, resetsAt }] of this.#windows) {
      // The window is over, and what the next one holds is told by its first answer. How many tokens a request takes is not known before.
      if (resetsAt <= now && !name.includes("token")) allowance = Math.min(allowance, isFixed ? limit : 1);
    }
    return allowance;
  }

  grant(now: number): void {
    this.inFlight++;
    this.#grantedAt = now;
    for (const window of this.#windows.values()) window.sent++;
  }

  /** An answer that told nothing of limits, or not of all of them. @param told names of the windows that it told of. */
  learnMissing(told: readonly string[], isRefusal: boolean, now: number): void {
    for (const [name, window] of this.#windows) {
      if (told.includes(name)) continue;
      window.missed++;
      if (window.missed >= MISSED_LIMIT && window.resetsAt <= now) this.#windows.delete(name);
    }
    if (told.length > 0) return;
    if (isRefusal) {
      this.#wasRefused = true;
      this.#allowance = 1;
    } else this.#allowance = this.#wasRefused ? this.#allowance + 1 : Number.POSITIVE_INFINITY;
  }

  /** @param isRefusal the answer was one for too many requests. */
  learn({ name, limit, remaining, resetsAt }: QuotaWindow, isRefusal: boolean, now: number): void {
    const before = this.#windows.get(name);
    const isSame = before !== undefined && Math.abs(resetsAt - before.resetsAt) <= SAME_WINDOW_MS;
    const sent = isSame ? before.sent : Math.max(1, this.inFlight);
    const all = limit ?? before?.limit ?? remaining + sent;
    const begins = before === undefined || resetsAt > before.resetsAt + SAME_WINDOW_MS;
    this.#windows.set(name, {
      limit: all,
      resetsAt: isSame ? Math.max(resetsAt, before.resetsAt) : resetsAt,
      remaining: isSame ? Math.min(before.remaining, remaining) : remaining,
      lengthMs: Math.max(begins ? 0 : before.lengthMs, resetsAt - now),
      isFixed: !isRefusal && (begins ? remaining >= all - sent : before.isFixed && remaining >= all - before.sent),
      sent,
      missed: 0,
    });
  }

  /** What was known when the process ended. */
  restore(name: string, { limit, remaining, resetsAt }: Account, now: number): void {
    this.#windows.set(name, {
      limit,
      remaining,
      resetsAt,
      lengthMs: resetsAt - now,
      isFixed: false,
      sent: 0,
      missed: 0,
    });
  }

  /** When a request would go that has so many before it, as far as that can be told; ms since the epoch. */
  estimate(ahead: number, now: number): number {
    let at = Math.max(now, this.closedUntil);
    for (const { limit, remaining, resetsAt, lengthMs } of this.#windows.values()) {
      if (resetsAt <= now) continue;
      const free = remaining - this.inFlight;
      if (ahead < free) continue;
      const windowsLater = Math.floor((ahead - Math.max(0, free)) / Math.max(1, limit));
      at = Math.max(at, resetsAt + windowsLater * lengthMs);
    }
    return at;
  }

  /** Nothing that would be missed. */
  isIdle(now: number): boolean {
    return this.inFlight === 0 && this.queue.size === 0 && this.closedUntil <= now && !this.#isKnown(now);
  }
}
