/**
 * Which bucket a request is counted in: by the name that answers gave it; before, by its route where they give names at all.
 * Invariant: bounded, whatever routes are asked for; and nobody who waits is lost when a bucket gets another name.
 */
import { Bucket } from "./bucket.ts";
import type { QuotaRoute, QuotaRules } from "./rules.ts";

const BUCKETS_LIMIT = 10_000;
const ROUTES_LIMIT = 10_000;

/** Buckets that are looked at to make room for one: those that were used the longest ago. */
const LOOKED_AT = 16;

/** Somebody who waits in a bucket. */
export interface BucketMember {
  readonly route: QuotaRoute;
  readonly callerId: string;
  /** Within a bucket, those who are held back by the same. */
  readonly lane: string;
  bucket: Bucket<this>;
}

export class Buckets<T extends BucketMember> {
  readonly #rules: Pick<QuotaRules, "namesBuckets">;
  /** Those that were used last are the last. */
  readonly #buckets = new Map<string, Bucket<T>>();
  /** Names of buckets by the name of the route. */
  readonly #learned = new Map<string, string>();
  /** Routes by the name of their bucket. */
  readonly #routes = new Map<string, number>();
  /** The name that most routes have, where the vendor does not say that they have buckets of their own. */
  usualName: string | undefined;

  constructor(rules: Pick<QuotaRules, "namesBuckets">) {
    this.#rules = rules;
  }

  get size(): number {
    return this.#buckets.size;
  }

  [Symbol.iterator](): Iterator<Bucket<T>> {
    return this.#buckets.values();
  }

  /** The bucket of a route, made where there is none. @param now ms since the epoch. */
  of(route: QuotaRoute, now: number): Bucket<T> {
    const key = this.#keyFor(route);
    const unnamed = keyOf(route.name, route.major);
    const taken = this.#buckets.get(unnamed);
    // Another answer of the route has named it meanwhile.
    if (taken !== undefined && key !== unnamed && this.#learned.get(route.name) !== undefined) {
      return this.#become(taken, key, now);
    }
    return this.open(key, now);
  }

  /** The same without making one. */
  peek(route: QuotaRoute): Bucket<T> {
    const key = this.#keyFor(route);
    return this.#buckets.get(key) ?? this.#buckets.get(keyOf(route.name, route.major)) ?? new Bucket(key);
  }

  open(key: string, now: number): Bucket<T> {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_LIMIT) this.#makeRoom(now);
      bucket = new Bucket(key);
    } else this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    return bucket;
  }

  /** Whether the route's bucket had not this name before. */
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

  /** The bucket that an answer names, in the place of the one that it was taken for; whoever waits in that one goes along. */
  rename(taken: Bucket<T>, { name: routeName, major }: QuotaRoute, name: string | undefined, now: number): Bucket<T> {
    if (name === undefined) return taken;
    const key = keyOf(name, major);
    if (taken.key === key) return taken;
    // It is this route's alone, or has got its first name: what is in flight is counted in the other one from now on.
    const isFirstName = taken.key === "" && name === this.usualName;
    if (isFirstName || taken.key === keyOf(routeName, major)) return this.#become(taken, key, now);
    const real = this.open(key, now);
    move(taken, real, (member) => member.route.name === routeName && member.route.major === major);
    return real;
  }

  #become(taken: Bucket<T>, key: string, now: number): Bucket<T> {
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
    return keyOf(this.#learned.get(name) ?? this.#untold(name), major);
  }

  /** A route that was not asked yet is taken to have the usual bucket: paths are many, and each would be refused once where that is used up. */
  #untold(routeName: string): string {
    return this.#rules.namesBuckets ? routeName : (this.usualName ?? "");
  }

  /**
   * An idle one goes, else the one that was not asked for the longest: what it holds back is found out with one request, where
   * it is asked for again. Those with somebody in them stay: there are no more of them than may wait and be in flight.
   */
  #makeRoom(now: number): void {
    let oldest: Bucket<T> | undefined;
    let looked = 0;
    for (const [key, bucket] of this.#buckets) {
      if (++looked > LOOKED_AT) break;
      if (bucket.isIdle(now)) {
        this.#buckets.delete(key);
        return;
      }
      if (bucket.inFlight === 0 && bucket.waiting === 0) oldest ??= bucket;
      else {
        // Behind the others, so that it is not looked at again and again.
        this.#buckets.delete(key);
        this.#buckets.set(key, bucket);
      }
    }
    if (oldest !== undefined) this.#buckets.delete(oldest.key);
  }
}

function move<T extends BucketMember>(from: Bucket<T>, to: Bucket<T>, isMoved: (member: T) => boolean): void {
  for (const member of [...from.inTurn()]) {
    if (!isMoved(member)) continue;
    from.remove(member);
    member.bucket = to;
    to.push(member);
  }
}

const keyOf = (name: string, major: string) => (major === "" ? name : `${name}:${major}`);
