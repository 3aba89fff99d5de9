/**
 * Which bucket a request is counted in: by the name that answers gave it; before, by its route where they give names at all.
 * Invariant: bounded, whatever routes are asked for; and nobody who waits is lost when a bucket gets another name.
 */
import { Bucket } from "./bucket.ts";
import type { QuotaRoute, QuotaRules } from "./rules.ts";

const BUCKETS_LIMIT = 10_000;
const ROUTES_LIMIT = 10_000;

/** Somebody who waits in a bucket. */
export interface BucketMember {
  readonly route: QuotaRoute;
  readonly callerId: string;
  bucket: Bucket<this>;
}

export class Buckets<T extends BucketMember> {
  readonly #rules: Pick<QuotaRules, "namesBuckets">;
  readonly #buckets = new Map<string, Bucket<T>>();
  /** Names of buckets by the name of the route. */
  readonly #learned = new Map<string, string>();

  constructor(rules: Pick<QuotaRules, "namesBuckets">) {
    this.#rules = rules;
  }

  [Symbol.iterator](): Iterator<Bucket<T>> {
    return this.#buckets.values();
  }

  /** @param now ms since the epoch. */
  of({ name, major }: QuotaRoute, now: number): Bucket<T> {
    const isNamed = this.#rules.namesBuckets || this.#learned.size > 0;
    return this.open(keyOf(isNamed ? (this.#learned.get(name) ?? name) : "", major), now);
  }

  open(key: string, now: number): Bucket<T> {
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= BUCKETS_LIMIT) this.#forgetIdle(now);
      bucket = new Bucket(key);
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  /** The bucket that an answer names, in the place of the one that it was taken for; whoever waits in that one goes along. */
  rename(taken: Bucket<T>, { name: routeName, major }: QuotaRoute, name: string | undefined, now: number): Bucket<T> {
    if (name === undefined) return taken;
    if (this.#learned.get(routeName) !== name) {
      if (this.#learned.size >= ROUTES_LIMIT) this.#learned.clear();
      this.#learned.set(routeName, name);
    }
    const real = this.open(keyOf(name, major), now);
    if (real === taken) return taken;
    for (const member of [...taken.queue]) {
      if (member.route.name !== routeName || member.route.major !== major) continue;
      taken.queue.remove(member.callerId, member);
      member.bucket = real;
      real.queue.push(member.callerId, member);
    }
    return real;
  }

  #forgetIdle(now: number): void {
    for (const [key, bucket] of this.#buckets) if (bucket.isIdle(now)) this.#buckets.delete(key);
  }
}

const keyOf = (name: string, major: string) => (major === "" ? name : `${name}:${major}`);
