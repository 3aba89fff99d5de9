/** A histogram of latencies, without an allocation per value. */

/** A bucket per 10 µs, up to 2 s; higher values count in the last one. */
const BUCKET_MS = 0.01;
const BUCKETS = 200_000;

export class Latencies {
  readonly #counts = new Uint32Array(BUCKETS);
  #total = 0;

  get total(): number {
    return this.#total;
  }

  add(ms: number): void {
    this.#total++;
    this.#counts[Math.min(BUCKETS - 1, Math.floor(ms / BUCKET_MS))]!++;
  }

  /** @param share such as 0.99. @returns ms. */
  percentile(share: number): number {
    const rank = this.#total * share;
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!;
      if (seen >= rank) return (bucket + 0.5) * BUCKET_MS;
    }
    return BUCKETS * BUCKET_MS;
  }
}
