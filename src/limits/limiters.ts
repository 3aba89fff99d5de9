/**
 * Our own rate limits: fixed windows by rate-limiter-flexible, one limiter a service, used by both planes.
 * Invariant: the number of keys in memory is bounded, whatever addresses and callers turn up.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Service } from "../config/schema.ts";
import { addressKey } from "./address-key.ts";

/** Keys counted one by one in a window; what comes after them shares one count. About 510 bytes each. */
const KEYS_LIMIT = 50_000;
const OVERFLOW_KEY = "overflow";

/** Where a limit stands; times in ms from now. */
export interface LimitState {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
  /** What is counted together: the policy's name in the RateLimit fields. */
  readonly per: "service" | "caller" | "ip";
  /** The `RateLimit-Policy` member, the same for every answer. */
  readonly policy: string;
  readonly isExceeded: boolean;
}

/** Who asks, as far as a limit can tell callers apart. */
export interface LimitSubject {
  readonly callerId: string;
  readonly address: string;
}

export interface Limiter {
  /** Where the limit stands before this request: nothing is spent. */
  peek(subject: LimitSubject): Promise<LimitState>;
  /** How many are told apart, callers or addresses, in this window and the one before, and their requests. */
  readonly told: { readonly keys: number; readonly requests: number };
  /** Begins every count anew. */
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
  let bound = createKeyBound(windowMs);
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
    get told() {
      return bound.told;
    },
    reset() {
      store = openStore();
      bound = createKeyBound(windowMs);
    },
    async peek(subject) {
      const result = await store.get(keyOf(subject, bound.find));
      return state(result, result !== null && result.consumedPoints >= maxRequests);
    },
    spend: (subject) =>
      store.consume(keyOf(subject, bound.admit)).then(
        (result) => state(result, false),
        (rejection) => {
          // An exceeded limit is a RateLimiterRes; an Error is the store failing.
          if (rejection instanceof RateLimiterRes) return state(rejection, true);
          throw rejection;
        },
      ),
  };
}

/** Remembers which keys have a count of their own in this window and sends the rest to one shared count. */
function createKeyBound(windowMs: number) {
  let current = new Set<string>();
  let previous = new Set<string>();
  let turnsAt = performance.now() + windowMs;
  let requests = 0;
  let requestsBefore = 0;

  /** The key that is counted by. */
  function find(key: string): string {
    const now = performance.now();
    if (now >= turnsAt) {
      // A count lives one window from its first request, so the keys of the window before may still be alive.
      previous = now >= turnsAt + windowMs ? new Set() : current;
      current = new Set();
      requestsBefore = now >= turnsAt + windowMs ? 0 : requests;
      requests = 0;
      turnsAt = now + windowMs;
    }
    const isNew = !current.has(key) && !previous.has(key);
    return isNew && current.size + previous.size >= KEYS_LIMIT ? OVERFLOW_KEY : key;
  }
  return {
    find,
    get told() {
      find("");
      return { keys: new Set([...current, ...previous]).size, requests: requests + requestsBefore };
    },
    /** The same, and it has its own count from now on. */
    admit(key: string): string {
      const counted = find(key);
      if (counted === key) current.add(key);
      requests++;
      return counted;
    },
  };
}
