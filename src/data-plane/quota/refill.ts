/**
 * A limit that fills up point by point (a token or leaky bucket), told from one that is renewed all at once: its reset is later the
 * more of it is used. Times are ms since the epoch, told by the caller.
 * Invariant: what it takes to be there is never more than what is there, as long as nobody else spends it.
 */
import type { QuotaWindow } from "./read-quota.ts";

/** An answer that told of the limit. */
export interface Told {
  /** It was one for too many requests. */
  readonly isRefusal: boolean;
  /** Requests that the answer may have counted, this one among them: at least 1. */
  readonly inFlight: number;
  /** Other requests that were on their way while this one was: each may have been counted before it or after. */
  readonly overlapping: number;
  /** ms since the epoch, as is `now`. */
  readonly sentAt: number;
  readonly now: number;
  readonly hasFixedWindows: boolean;
}

/** By so much may a told reset be off: it is rounded to a second, which is then taken for cut off; and the answer took its time. */
const ROUNDED_MS = 2_000;
const TRAVEL_MS = 250;

/** So many readings that agree prove it, where the most used is by so many points and so long a time away from the least used. */
const AGREEING = 16;
const SPREAD_POINTS = 8;
const SPREAD_MS = 3_000;

/** A request that is sent later may arrive earlier: a point is used so much after it is there. */
const MARGIN_MS = 250;

interface Reading {
  readonly used: number;
  readonly resetMs: number;
}

export class Refill {
  /** Each reading confines how long one point takes; while these agree, it lies between the two. */
  #leastMs = 0;
  #mostMs = Number.POSITIVE_INFINITY;
  #agreeing = 0;
  #hasDisagreed = false;
  #leastUsed: Reading | undefined;
  #mostUsed: Reading | undefined;
  /** Undefined until it is proved, and where it is not so. */
  #pointMs: number | undefined;
  #limit = 0;
  /** Points that were there at that time, those of requests in flight taken off. */
  #level = 0;
  #at = 0;

  get isProved(): boolean {
    return this.#pointMs !== undefined;
  }

  /** @param told when the request was sent, and how many others were on their way while it was. */
  learn(window: QuotaWindow, { overlapping, sentAt, now }: Pick<Told, "overlapping" | "sentAt" | "now">): void {
    const { limit, remaining, resetsAt, pointMs } = window;
    if (limit === undefined) return;
    this.#limit = limit;
    const wasProved = this.isProved;
    if (pointMs === undefined) this.#weigh(limit - remaining, resetsAt - now);
    else this.#pointMs = pointMs;
    if (this.#pointMs === undefined) return;
    // Those that were on their way may all have been counted after this one.
    const surely = remaining - overlapping;
    // What was measured when the request arrived cannot have grown by more since it was sent.
    const atMost = remaining + (now - sentAt) / this.#pointMs;
    this.#level = wasProved ? Math.max(surely, Math.min(this.levelAt(now), atMost)) : surely;
    this.#at = now;
  }

  /** Readings were seen that such a limit would not give. */
  get isRuledOut(): boolean {
    return this.#hasDisagreed;
  }

  /** Refused: what was thought to be there was not. */
  disprove(): void {
    this.#pointMs = undefined;
    this.#forget();
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

  /** When one more than so many may have gone; now or before where it may. */
  freeAt(ahead: number): number {
    if (this.#pointMs === undefined) return 0;
    const missing = ahead + 1 - this.#level;
    // Above the margin's worth nothing has to be waited for, however it came to be there.
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
    // The longest that it can be is the safe one.
    if (isSpread) this.#pointMs = this.#mostMs;
  }

  #forget(): void {
    this.#leastMs = 0;
    this.#mostMs = Number.POSITIVE_INFINITY;
    this.#agreeing = 0;
    this.#leastUsed = undefined;
    this.#mostUsed = undefined;
  }
}
