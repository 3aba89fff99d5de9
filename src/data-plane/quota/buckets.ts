/**
 * Which bucket a request is counted in: the one that a response named for its route, else one per route if the vendor names buckets.
 * Invariant: bounded, however many routes are requested; and no waiting request is lost when a bucket gets another name.
 */
import { Bucket, type Waiting } from "./bucket.ts";
import type { QuotaRoute, QuotaRules } from "./rules.ts";

const BUCKETS_LIMIT = 10_000;
const ROUTES_LIMIT = 10_000;

/** The least recently used buckets among which one is dropped to make room. */
const EVICTION_CANDIDATES = 16;

export class Buckets {
  readonly #rules: Pick<QuotaRules, "namesBuckets" | "triesLongHolds">;
  /** The most recently used are the last. */
  readonly #buckets = new Map<string, Bucket>();
  /** Names of buckets by the name of the route. */
  readonly #learned = new Map<string, string>();
  /** Number of routes by the name of their bucket. */
  readonly #routes = new Map<string, number>();
  /** The name that most routes share, unless the vendor says that each route has its own. */
  usualName: string | undefined;

  constructor(rules: Pick<QuotaRules, "namesBuckets" | "triesLongHolds">) {
    this.#rules = rules;
  }

  [Symbol.iterator](): Iterator<Bucket> {
    return this.#buckets.values();
  }

  /** The bucket of a route; created if there is none. @param now ms since the epoch. */
  of(route: QuotaRoute, now: number): Bucket {
    const key = this.#keyFor(route);
    const unnamed = keyOf(route.name, route.major);
    const taken = this.#buckets.get(unnamed);
    // Another response of the route has named it meanwhile.
    if (taken !== undefined && key !== unnamed && this.#learned.get(route.name) !== undefined) {
      return this.#become(taken, key, now);
    }
    return this.open(key, now);
  }

  /** As `of`, without storing a new one. */
  peek(route: QuotaRoute): Bucket {
    const key = this.#keyFor(route);
    return (
      this.#buckets.get(key) ??
      this.#buckets.get(keyOf(route.name, route.major)) ??
      new Bucket(key, this.#rules.triesLongHolds)
    );
  }

  open(key: string, now: number): Bucket {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_LIMIT) this.#makeRoom(now);
      bucket = new Bucket(key, this.#rules.triesLongHolds);
    } else this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    return bucket;
  }

  /** @returns whether the name is new for the route's bucket. */
  learnName(routeName: string, name: string): boolean {
    if (this.#learned.get(routeName) === name) return false;
    if (this.#learned.size >= ROUTES_LIMIT) {
      this.#learned.clear();
      this.#routes.clear();
    }
    this.#learned.set(routeName, name);
    const count = (this.#routes.get(name) ?? 0) + 1;
    this.#routes.set(name, count);
    const most = this.#routes.get(this.usualName ?? "") ?? 0;
    if (!this.#rules.namesBuckets && count > most) this.usualName = name;
    return true;
  }

  /** The bucket that a response names, instead of the one it was counted in; the waiting requests move with it. */
  rename(taken: Bucket, { name: routeName, major }: QuotaRoute, name: string | undefined, now: number): Bucket {
    if (name === undefined) return taken;
    const key = keyOf(name, major);
    if (taken.key === key) return taken;
    // If it is this route's alone, or gets its first name, then its requests in flight move, too.
    const isFirstName = taken.key === "" && name === this.usualName;
    if (isFirstName || taken.key === keyOf(routeName, major)) return this.#become(taken, key, now);
    const real = this.open(key, now);
    move(taken, real, ({ request: { route } }) => route.name === routeName && route.major === major);
    return real;
  }

  #become(taken: Bucket, key: string, now: number): Bucket {
    this.#buckets.delete(taken.key);
    if (!this.#buckets.has(key)) {
      taken.key = key;
      this.#buckets.set(key, taken);
      return taken;
    }
    const real = this.open(key, now);
    real.absorb(taken);
    move(taken, real, () => true);
    return real;
  }

  #keyFor({ name, major }: QuotaRoute): string {
    return keyOf(this.#learned.get(name) ?? this.#assumedName(name), major);
  }

  /** A new route is assumed to have the usual bucket: there are many paths, and each would be refused once when that is exhausted. */
  #assumedName(routeName: string): string {
    return this.#rules.namesBuckets ? routeName : (this.usualName ?? "");
  }

  /**
   * Drops an idle bucket, else the least recently used one: the next request for it finds out its limit. Buckets with requests
   * stay: their number is bounded by the requests that wait or are in flight.
   */
  #makeRoom(now: number): void {
    let oldest: Bucket | undefined;
    let candidates = 0;
    for (const [key, bucket] of this.#buckets) {
      if (++candidates > EVICTION_CANDIDATES) break;
      if (bucket.isIdle(now)) {
        this.#buckets.delete(key);
        return;
      }
      if (bucket.inFlight === 0 && bucket.waiting === 0) oldest ??= bucket;
      else {
        // Moved to the end, so that it is not examined each time.
        this.#buckets.delete(key);
        this.#buckets.set(key, bucket);
      }
    }
    if (oldest !== undefined) this.#buckets.delete(oldest.key);
  }
}

function move(from: Bucket, to: Bucket, isMoved: (waiting: Waiting) => boolean): void {
  for (const waiting of [...from.inOrder()]) {
    if (!isMoved(waiting)) continue;
    from.remove(waiting);
    waiting.bucket = to;
    to.push(waiting);
  }
}

const keyOf = (name: string, major: string) => (major === "" ? name : `${name}:${major}`);
