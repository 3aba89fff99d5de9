/**
 * How upstreams count, exactly: they enforce, and know nothing of the gateway. Times are ms since the epoch.
 * Invariant: `take` after `freeAt` said now never exceeds the limit.
 */

export interface Limiter {
  /** When so many points are there, at the earliest; now when they are. */
  freeAt(points: number, now: number): number;
  take(points: number, now: number): void;
}

/** All of it again at once, in windows that begin with their first request, or at whole seconds. */
export class FixedWindow implements Limiter {
  readonly limit: number;
  readonly #windowMs: number;
  readonly #stepMs: number;
  endsAt = 0;
  #used = 0;

  /** @param stepMs a window begins at a multiple of it. */
  constructor(limit: number, windowMs: number, stepMs = 1) {
    this.limit = limit;
    this.#windowMs = windowMs;
    this.#stepMs = stepMs;
  }

  remaining(now: number): number {
    return now >= this.endsAt ? this.limit : this.limit - this.#used;
  }

  freeAt(points: number, now: number): number {
    return this.remaining(now) >= points ? now : this.endsAt;
  }

  take(points: number, now: number): void {
    if (now >= this.endsAt) {
      this.endsAt = Math.floor(now / this.#stepMs) * this.#stepMs + this.#windowMs;
      this.#used = 0;
    }
    this.#used += points;
  }
}

/** So many in any stretch of time: the strictest reading of "so many a minute". */
export class SlidingLog implements Limiter {
  readonly limit: number;
  readonly #windowMs: number;
  readonly #taken: { readonly at: number; readonly points: number }[] = [];
  #sum = 0;

  constructor(limit: number, windowMs: number) {
    this.limit = limit;
    this.#windowMs = windowMs;
  }

  freeAt(points: number, now: number): number {
    while (this.#taken[0] !== undefined && this.#taken[0].at + this.#windowMs <= now) {
      this.#sum -= this.#taken.shift()!.points;
    }
    let missing = this.#sum + points - this.limit;
    if (missing <= 0) return now;
    for (const { at, points: freed } of this.#taken) {
      missing -= freed;
      if (missing <= 0) return at + this.#windowMs;
    }
    return now + this.#windowMs;
  }

  remaining(now: number): number {
    this.freeAt(1, now);
    return this.limit - this.#sum;
  }

  take(points: number, now: number): void {
    this.#taken.push({ at: now, points });
    this.#sum += points;
  }
}

/** Fills up evenly, to its limit. */
export class TokenBucket implements Limiter {
  readonly limit: number;
  readonly pointMs: number;
  #level: number;
  #at = 0;

  constructor(limit: number, pointMs: number) {
    this.limit = limit;
    this.pointMs = pointMs;
    this.#level = limit;
  }

  levelAt(now: number): number {
    return Math.min(this.limit, this.#level + (now - this.#at) / this.pointMs);
  }

  freeAt(points: number, now: number): number {
    const missing = points - this.levelAt(now);
    // A millionth is not worth a wait: numbers with decimals do not add up exactly.
    return missing <= 1e-6 ? now : Math.ceil(now + missing * this.pointMs);
  }

  take(points: number, now: number): void {
    this.#level = this.levelAt(now) - points;
    this.#at = now;
  }
}

/** Several limits that hold together. */
export function freeOf(parts: readonly (readonly [limiter: Limiter, points: number])[], now: number): number {
  return Math.max(now, ...parts.map(([limiter, points]) => (points === 0 ? now : limiter.freeAt(points, now))));
}

export function takeOf(parts: readonly (readonly [limiter: Limiter, points: number])[], now: number): void {
  for (const [limiter, points] of parts) if (points > 0) limiter.take(points, now);
}
