/**
 * Our own rate limits: fixed windows by rate-limiter-flexible, one limiter for each service and for each issued key with a limit.
 * Invariant: the number of counters in memory is bounded, however many addresses and callers there are; and a key's limit that
 * did not change keeps its count.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Service } from "../config/schema.ts";
import { Yielder } from "../yielder.ts";
import { addressKey } from "./address-key.ts";
import { Crowding } from "./crowding.ts";

/** Callers or addresses with a counter of their own in a window; all others share one counter. About 510 bytes each. */
const COUNTERS_LIMIT = 50_000;
const SHARED_COUNTER = "overflow";

/** Twice the number of issued keys. Limiters of deleted keys stay until there are more than this; then all start again. */
const KEY_LIMITERS_LIMIT = 200_000;

/** State of a limit; times in ms from now. */
export interface LimitState {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
  /** What is counted together: the policy's name in the RateLimit fields. */
  readonly per: "service" | "caller" | "ip";
  /** The `RateLimit-Policy` member, the same for every response. */
  readonly policy: string;
  readonly isExceeded: boolean;
}

/** The caller of a request, as far as a limit distinguishes callers. */
export interface LimitSubject {
  readonly callerId: string;
  readonly address: string;
}

export interface Limiter {
  /** The state before this request: nothing is spent. */
  peek(subject: LimitSubject): Promise<LimitState>;
  /** Callers or addresses with a counter in this window and the one before, and their requests. */
  readonly counted: { readonly keys: number; readonly requests: number };
  /** Sets every count to zero. */
  reset(): void;
  /** Spends one point. @throws Error when the store fails; never for an exceeded limit. */
  spend(subject: LimitSubject): Promise<LimitState>;
}

/** Undefined for a service without a limit of ours. */
export function createLimiter(service: Pick<Service, "rateLimit">): Limiter | undefined {
  if (service.rateLimit === undefined) return undefined;
  const { maxRequests, windowMs, per } = service.rateLimit;
  const openStore = () => new RateLimiterMemory({ points: maxRequests, duration: windowMs / 1000, keyPrefix: "" });
  let store = openStore();
  let counters = createCounterBound(windowMs);
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

  return {
    get counted() {
      return counters.counted;
    },
    reset() {
      store = openStore();
      counters = createCounterBound(windowMs);
    },
    async peek(subject) {
      const result = await store.get(keyOf(subject, counters.find));
      return state(result, result !== null && result.consumedPoints >= maxRequests);
    },
    spend: (subject) =>
      store.consume(keyOf(subject, counters.admit)).then(
        (result) => state(result, false),
        (rejection) => {
          // An exceeded limit is a RateLimiterRes; an Error is a failure of the store.
          if (rejection instanceof RateLimiterRes) return state(rejection, true);
          throw rejection;
        },
      ),
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
    /** The same, and the key has its own counter from now on. */
    admit(key: string): string {
      const counted = find(key);
      if (counted !== SHARED_COUNTER && !current.has(counted)) {
        if (!previous.has(counted)) crowding.entered(counted);
        current.add(counted);
      }
      requests++;
      return counted;
    },
  };
}

interface KeyLimit {
  readonly maxRequests: number;
  readonly windowMs: number;
}

/** The parts of an issued key that its limit needs. */
export interface LimitedKey {
  readonly id: string;
  readonly key: { readonly rateLimit: KeyLimit | null };
}

/** The limit of one key. */
export interface KeyLimiter {
  /** The id of the key whose limit it is: all requests that count against it are counted under this id. */
  readonly id: string;
  readonly limiter: Limiter;
}

export interface KeyLimits {
  /** Its own limit first, then those of the keys that issued it: their limits include its requests. */
  of(issued: LimitedKey | undefined): readonly KeyLimiter[];
  /** Ids of the keys that have used up their limit. */
  exceeded(): Promise<readonly string[]>;
}

const NO_LIMITS: readonly KeyLimiter[] = [];

/**
 * The limits of issued keys, which apply in addition to those of services. Only keys with a limit have a limiter.
 * @param issuersOf the keys that issued this one, the nearest first.
 */
export function createKeyLimits(
  issuersOf: (id: string) => Iterable<LimitedKey>,
  maxLimiters = KEY_LIMITERS_LIMIT,
): KeyLimits {
  const limiters = new Map<string, KeyLimiter & { readonly limit: KeyLimit }>();
  function find({ id, key: { rateLimit: limit } }: LimitedKey): KeyLimiter | undefined {
    if (limit === null) return undefined;
    const known = limiters.get(id);
    // The record of a key is replaced as a whole: the same object is the same limit.
    if (known?.limit === limit) return known;
    if (known === undefined && limiters.size >= maxLimiters) limiters.clear();
    const kept = known !== undefined && isSameLimit(known.limit, limit) ? known.limiter : undefined;
    const limiter = kept ?? createLimiter({ rateLimit: { ...limit, per: "caller" } });
    if (limiter === undefined) return undefined;
    const entry = { id, limit, limiter };
    limiters.set(id, entry);
    return entry;
  }
  return {
    of(issued) {
      if (issued === undefined) return NO_LIMITS;
      let found: KeyLimiter[] | undefined;
      const add = (key: LimitedKey) => {
        const limiter = find(key);
        if (limiter === undefined) return;
        found ??= [];
        found.push(limiter);
      };
      add(issued);
      for (const issuer of issuersOf(issued.id)) add(issuer);
      return found ?? NO_LIMITS;
    },
    async exceeded() {
      const ids: string[] = [];
      const yielder = new Yielder();
      for (const [id, { limiter }] of limiters) {
        const state = await limiter.peek({ callerId: id, address: "" });
        if (state.isExceeded) ids.push(id);
        if (yielder.isDue) await yielder.yield();
      }
      return ids;
    },
  };
}

function isSameLimit(before: KeyLimit, now: KeyLimit): boolean {
  return before.maxRequests === now.maxRequests && before.windowMs === now.windowMs;
}
