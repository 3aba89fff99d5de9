/**
 * The counters of one rate limit: fixed windows by rate-limiter-flexible.
 * Invariant: the number of counters in memory is bounded, however many addresses and callers there are.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { RateLimit } from "../config/rate-limit-schema.ts";
import { addressKey } from "./address-key.ts";
import { Crowding } from "./crowding.ts";
import type { QueuedLimit } from "./limit-queue.ts";
import type { LimitState, LimitSubject } from "./limit-state.ts";
import type { SharedSpend, SharedWindows } from "./shared-windows.ts";

/** Callers or addresses with a counter of their own in a window; all others share one counter. About 510 bytes each. */
const COUNTERS_LIMIT = 50_000;
const SHARED_COUNTER = "overflow";

export interface WindowCounters extends QueuedLimit {
  /** The state before a request: nothing is spent. */
  peek(subject: LimitSubject): Promise<LimitState>;
  /** Spends one point of the counter that `enter` named. @throws Error when the store fails; never for an exceeded limit. */
  consume(counter: string): Promise<LimitState>;
  /** The same for a request whose other limits are counted in the same step; undefined where the windows are not shared. */
  sharedSpend(subject: LimitSubject): SharedSpend | undefined;
  readonly counted: { readonly keys: number; readonly requests: number };
  /** Sets every count to zero. @throws StoreUnavailable where the windows are shared. */
  reset(): Promise<void>;
}

/** @param shared where several gateways count together; in memory if left out. */
export function createWindowCounters(
  { maxRequests, windowMs, per }: RateLimit,
  shared?: SharedWindows,
): WindowCounters {
  const openStore = () =>
    shared ?? new RateLimiterMemory({ points: maxRequests, duration: windowMs / 1000, keyPrefix: "" });
  let store = openStore();
  let bound = createCounterBound(windowMs);
  const policy = `"${per}";q=${maxRequests};w=${Math.ceil(windowMs / 1000)}`;

  const keyOf = (subject: LimitSubject, find: (key: string) => string) => {
    if (per === "service") return "";
    return find(per === "caller" ? subject.callerId : addressKey(subject.address));
  };
  const state = (result: RateLimiterRes | null, isExceeded: boolean): LimitState => ({
    limit: maxRequests,
    remaining: result === null ? maxRequests : result.remainingPoints,
    // The store counts by the wall clock; when that is set back, the window still ends in time.
    resetMs: result === null ? windowMs : Math.min(windowMs, result.msBeforeNext),
    per,
    policy,
    isExceeded,
  });
  const find = (subject: LimitSubject) => keyOf(subject, bound.find);
  const consume = (counter: string) =>
    store.consume(counter).then(
      (result) => state(result, false),
      (rejection) => {
        // An exceeded limit is a RateLimiterRes; an Error is a failure of the store.
        if (rejection instanceof RateLimiterRes) return state(rejection, true);
        throw rejection;
      },
    );

  return {
    maxRequests,
    windowMs,
    find,
    consume,
    enter: (subject) => keyOf(subject, bound.admit),
    // A request may wait for longer than its counter is remembered.
    spend: (counter) => consume(counter === "" ? counter : bound.keep(counter)),
    exceeded: (resetMs) => ({ limit: maxRequests, remaining: 0, resetMs, per, policy, isExceeded: true }),
    get counted() {
      return bound.counted;
    },
    sharedSpend(subject) {
      if (shared === undefined) return undefined;
      const counter = keyOf(subject, bound.admit);
      return { windows: shared, counter, stateOf: (result) => state(result, result.consumedPoints > maxRequests) };
    },
    async reset() {
      if (shared !== undefined) await shared.clear();
      store = openStore();
      bound = createCounterBound(windowMs);
    },
    async peek(subject) {
      const result = await store.get(find(subject));
      return state(result, result !== null && result.consumedPoints >= maxRequests);
    },
  };
}

/** Knows which keys have a counter of their own in this window; the rest share one. */
function createCounterBound(windowMs: number) {
  let current = new Set<string>();
  let previous = new Set<string>();
  let rotatesAt = performance.now() + windowMs;
  const crowding = new Crowding(COUNTERS_LIMIT, false);
  let requests = 0;
  let previousRequests = 0;

  /** The key of the counter. */
  function find(key: string): string {
    const now = performance.now();
    if (now >= rotatesAt) {
      // A counter lives one window from its first request, so counters of the window before may still be in use.
      previous = now >= rotatesAt + windowMs ? new Set() : current;
      current = new Set();
      crowding.rotate();
      previousRequests = now >= rotatesAt + windowMs ? 0 : requests;
      requests = 0;
      rotatesAt = now + windowMs;
    }
    if (current.has(key) || previous.has(key)) return key;
    const size = current.size + previous.size;
    const counted = crowding.keyFor(key, size);
    if (counted !== key) return counted;
    return size >= COUNTERS_LIMIT ? SHARED_COUNTER : key;
  }
  return {
    find,
    get counted() {
      find("");
      return { keys: new Set([...current, ...previous]).size, requests: requests + previousRequests };
    },
    keep,
    /** The same, and the request is counted. */
    admit(key: string): string {
      const counted = keep(key);
      requests++;
      return counted;
    },
  };

  /** The same, and the key has its own counter from now on. */
  function keep(key: string): string {
    const counted = find(key);
    if (counted !== SHARED_COUNTER && !current.has(counted)) {
      if (!previous.has(counted)) crowding.entered(counted);
      current.add(counted);
    }
    return counted;
  }
}
