/**
 * The windows of one rate limit over several gateways: counted in the shared store, and here while that is degraded.
 * Invariant: no request fails because the store does. While the store is degraded, each gateway allows its share of the limit: the limit
 * divided by the number of gateways that were last seen, at least 1.
 */
import { createHash } from "node:crypto";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { RateLimit } from "../config/rate-limit-schema.ts";
import type { CountedWindow, SharedCounters, WindowCount } from "../stores/shared-counters.ts";
import { StoreUnavailable } from "../stores/store-fault.ts";
import type { LimitState } from "./limit-state.ts";

/** A point that is to be spent together with others. */
export interface SharedSpend {
  readonly windows: SharedWindows;
  readonly counter: string;
  stateOf(result: RateLimiterRes): LimitState;
}

type Limit = Pick<RateLimit, "maxRequests" | "windowMs" | "per">;

/** Characters. A longer name, such as that of a token's subject, is counted under its hash. */
const LONGEST_NAME = 64;

export class SharedWindows {
  readonly #limit: Limit;
  /** Ends with ":". A limit with other numbers counts elsewhere. */
  readonly #name: string;
  readonly #counters: SharedCounters;
  #local: { readonly share: number; readonly store: RateLimiterMemory } | undefined;

  /** @param owner whose limit it is, such as `service:github`. */
  constructor(limit: Limit, owner: string, counters: SharedCounters) {
    const { maxRequests, windowMs, per } = limit;
    this.#limit = limit;
    this.#name = `${owner}:${per}:${maxRequests}:${windowMs}:`;
    this.#counters = counters;
  }

  /** Spends points in this order, in one step, until a limit is exceeded: the result ends with that one. */
  static async spendTogether(spends: readonly SharedSpend[]): Promise<readonly LimitState[]> {
    const states = (results: readonly RateLimiterRes[]) =>
      results.map((result, index) => (spends[index] as SharedSpend).stateOf(result));
    const first = spends[0];
    if (first === undefined) return [];
    const shared = await orUndefined(() =>
      first.windows.#counters.spend(spends.map(({ windows, counter }) => windows.#window(counter))),
    );
    if (shared !== undefined) {
      return states(shared.map((count, index) => (spends[index] as SharedSpend).windows.#result(count)));
    }
    const results: RateLimiterRes[] = [];
    for (const { windows, counter } of spends) {
      const result = await windows.#spendLocally(counter);
      results.push(result);
      if (windows.#isExceeded(result)) break;
    }
    return states(results);
  }

  /** @throws RateLimiterRes for an exceeded limit. */
  async consume(counter: string): Promise<RateLimiterRes> {
    const [shared] = (await orUndefined(() => this.#counters.spend([this.#window(counter)]))) ?? [];
    const result = shared === undefined ? await this.#spendLocally(counter) : this.#result(shared);
    if (this.#isExceeded(result)) throw result;
    return result;
  }

  /** Null before the first point of a window. */
  async get(counter: string): Promise<RateLimiterRes | null> {
    let isRead = true;
    const shared = await orUndefined(
      () => this.#counters.read(this.#window(counter).key),
      () => {
        isRead = false;
      },
    );
    if (shared !== undefined) return this.#result(shared);
    if (isRead) return null;
    const local = await this.#localStore().store.get(counter);
    return local && this.#scaled(local);
  }

  /** @throws StoreUnavailable */
  async clear(): Promise<void> {
    await this.#counters.clear(this.#name);
    this.#local = undefined;
  }

  #window(counter: string): CountedWindow {
    const { maxRequests, windowMs } = this.#limit;
    const name = counter.length > LONGEST_NAME ? createHash("sha256").update(counter).digest("base64url") : counter;
    return { key: this.#name + name, maxRequests, windowMs };
  }

  #isExceeded({ consumedPoints }: RateLimiterRes): boolean {
    return consumedPoints > this.#limit.maxRequests;
  }

  #result({ used, resetMs }: WindowCount): RateLimiterRes {
    return new RateLimiterRes(Math.max(0, this.#limit.maxRequests - used), resetMs, used, used === 1);
  }

  #localStore() {
    const { maxRequests, windowMs } = this.#limit;
    const share = Math.max(1, Math.floor(maxRequests / this.#counters.replicas));
    if (this.#local?.share !== share) {
      const store = new RateLimiterMemory({ points: share, duration: windowMs / 1000, keyPrefix: "" });
      this.#local = { share, store };
    }
    return this.#local;
  }

  async #spendLocally(counter: string): Promise<RateLimiterRes> {
    const result = await this.#localStore()
      .store.consume(counter)
      .catch((rejection: unknown) => {
        if (rejection instanceof RateLimiterRes) return rejection;
        throw rejection;
      });
    return this.#scaled(result);
  }

  /** Counted as if the other gateways had used up their shares. */
  #scaled(local: RateLimiterRes): RateLimiterRes {
    const ofOthers = this.#limit.maxRequests - this.#localStore().share;
    const used = local.consumedPoints + ofOthers;
    return new RateLimiterRes(local.remainingPoints, local.msBeforeNext, used, local.isFirstInDuration);
  }
}

/** Undefined where the store is not available. */
async function orUndefined<T>(call: () => Promise<T>, onUnavailable = () => {}): Promise<T | undefined> {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    onUnavailable();
    return undefined;
  }
}
