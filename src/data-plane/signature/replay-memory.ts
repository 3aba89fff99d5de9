/**
 * Remembers the signatures of delivered requests for as long as their signed time is accepted, so that none is accepted twice.
 * Invariant: it forgets nothing earlier. Where it is full, a request is refused instead; only requests with a valid signature
 * are remembered, so no stranger can fill it.
 */

/** About 30 MB for one service, and more than 800 requests in each second of 300. */
export const REMEMBERED_LIMIT = 250_000;

const BUCKET_SECONDS = 60;

export type Remembered = "new" | "repeated" | "stale" | "full";

export class ReplayMemory {
  /** By the minute of the signed time, which decides alone how long a signature is needed. */
  readonly #buckets = new Map<number, Set<string>>();
  readonly #limit: number;
  #size = 0;
  /** The first minute that was not dropped yet: an earlier time would not be found. */
  #oldest = Number.NEGATIVE_INFINITY;

  constructor(limit = REMEMBERED_LIMIT) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#size;
  }

  /**
   * @param id of the signature. @param timestamp its signed time, s since the epoch.
   * @param leastAccepted the earliest time that is accepted now, s since the epoch.
   */
  remember(id: string, timestamp: number, leastAccepted: number): Remembered {
    this.#dropBefore(Math.floor(leastAccepted / BUCKET_SECONDS));
    const minute = Math.floor(timestamp / BUCKET_SECONDS);
    if (minute < this.#oldest) return "stale";
    const bucket = this.#buckets.get(minute) ?? new Set();
    if (bucket.has(id)) return "repeated";
    if (this.#size >= this.#limit) return "full";
    bucket.add(id);
    this.#buckets.set(minute, bucket);
    this.#size++;
    return "new";
  }

  /** Its delivery failed: the sender may repeat it. */
  forget(id: string, timestamp: number): void {
    if (this.#buckets.get(Math.floor(timestamp / BUCKET_SECONDS))?.delete(id)) this.#size--;
  }

  /** A clock that was set back does not open what was dropped. */
  #dropBefore(minute: number): void {
    if (minute <= this.#oldest) return;
    this.#oldest = minute;
    for (const [each, { size }] of this.#buckets) {
      if (each >= minute) continue;
      this.#buckets.delete(each);
      this.#size -= size;
    }
  }
}
