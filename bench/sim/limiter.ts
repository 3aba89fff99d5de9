/**
 * The exact limiters of the simulated upstreams, independent of the gateway. Times are ms since the epoch.
 * Invariant: `take` never exceeds the limit if `freeAt` returned now.
 */

export interface Limiter {
  /** The earliest time at which the points are free; now if they already are. */
  freeAt(points: number, now: number): number;
  take(points: number, now: number): void;
}

/** Restores the whole limit at once, in windows that begin with their first request, or at whole seconds. */
export class FixedWindow implements Limiter {
  readonly limit: number;
  readonly #windowMs: number;
  readonly #stepMs: number;
  endsAt = 0;
  #used = 0;

  /** @param stepMs a window begins at a multiple of this. */
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

/** At most `limit` in any stretch of time: the strictest reading of "per minute". */
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

/** Refills evenly, up to its limit. */
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
    // Ignores a millionth, because floating-point sums are not exact.
    return missing <= 1e-6 ? now : Math.ceil(now + missing * this.pointMs);
  }

  take(points: number, now: number): void {
    this.#level = this.levelAt(now) - points;
    this.#at = now;
  }
}

/** When several limits allow the points at the same time. */
export function freeOf(parts: readonly (readonly [limiter: Limiter, points: number])[], now: number): number {
  return Math.max(now, ...parts.map(([limiter, points]) => (points === 0 ? now : limiter.freeAt(points, now))));
}

export function takeOf(parts: readonly (readonly [limiter: Limiter, points: number])[], now: number): void {
  for (const [limiter, points] of parts) if (points > 0) limiter.take(points, now);
}
