/**
 * Our own rate limits: fixed windows by rate-limiter-flexible, one limiter for each service and for each issued key with a limit.
 * Invariant: the number of counters in memory is bounded, however many addresses and callers there are; and a key's limit that
 * did not change keeps its count.
 */
import type { RateLimit } from "../config/rate-limit-schema.ts";
import type { SharedCounters } from "../stores/shared-counters.ts";
import { Yielder } from "../yielder.ts";
import { LimitQueue } from "./limit-queue.ts";
import type { LimitState, LimitSubject } from "./limit-state.ts";
import { type SharedSpend, SharedWindows } from "./shared-windows.ts";
import { createWindowCounters } from "./window-counters.ts";

/** Twice the number of issued keys. Limiters of deleted keys stay until there are more than this; then all start again. */
const KEY_LIMITERS_LIMIT = 200_000;

export interface Limiter {
  /** The state before this request: nothing is spent. */
  peek(subject: LimitSubject): Promise<LimitState>;
  /** Callers or addresses with a counter in this window and the one before, and their requests. */
  readonly counted: { readonly keys: number; readonly requests: number };
  /** Sets every count to zero. @throws StoreUnavailable where the limit is shared and the store is degraded. */
  reset(): Promise<void>;
  /** Several gateways count together. */
  readonly isShared: boolean;
  /** The point of a request, to be spent together with others; undefined where the limit is not shared. */
  sharedSpend(subject: LimitSubject): SharedSpend | undefined;
  /** Spends one point. @throws Error when the store fails; never for an exceeded limit. */
  spend(subject: LimitSubject): Promise<LimitState>;
  /** Where requests beyond the limit wait; undefined where they are refused. */
  readonly waitingRoom: WaitingRoom | undefined;
  /** Requests that wait now; undefined where none ever waited. */
  readonly queue: LimitQueue | undefined;
  /** Changes how requests wait; the counts stay. */
  configure(settings: WaitSettings): void;
  /** Takes over the requests that wait for a limit that this one replaces, also where it lets no other request wait. */
  takeOver(queue: LimitQueue): void;
}

interface WaitingRoom {
  readonly queue: LimitQueue;
  /** Of a request that does not say how long it may wait. */
  readonly maxWaitMs: number;
}

type WaitSettings = Pick<RateLimit, "onLimit" | "maxWaitMs" | "maxQueue">;

/** Where `rateLimit` of a service says nothing else. */
const DEFAULT_MAX_WAIT_MS = 10_000;
const DEFAULT_MAX_QUEUE = 1_000;

/** Where limits are counted that several gateways share. */
export interface SharedLimit {
  readonly counters: SharedCounters;
  /** Whose limit it is: the same for all gateways. */
  readonly owner: string;
}

/** @param shared undefined for a limit of this process alone. */
export function createLimiter(rateLimit: RateLimit, shared?: SharedLimit): Limiter {
  const windows = shared && new SharedWindows(rateLimit, shared.owner, shared.counters);
  const counters = createWindowCounters(rateLimit, windows);
  let queue: LimitQueue | undefined;
  let waitingRoom: WaitingRoom | undefined;
  const limiter: Limiter = {
    get counted() {
      return counters.counted;
    },
    get waitingRoom() {
      return waitingRoom;
    },
    get queue() {
      return queue;
    },
    configure({ onLimit, maxWaitMs = DEFAULT_MAX_WAIT_MS, maxQueue = DEFAULT_MAX_QUEUE }) {
      waitingRoom = undefined;
      if (onLimit !== "wait") return;
      queue ??= new LimitQueue(counters, maxQueue);
      queue.maxQueue = maxQueue;
      waitingRoom = { queue, maxWaitMs };
    },
    takeOver(other) {
      queue ??= new LimitQueue(counters, 0);
      queue.takeOver(other);
    },
    async reset() {
      await counters.reset();
      queue?.reopen();
    },
    peek: counters.peek,
    isShared: shared !== undefined,
    sharedSpend: counters.sharedSpend,
    spend: (subject) => counters.consume(counters.enter(subject)),
  };
  limiter.configure(rateLimit);
  return limiter;
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

interface KeyLimitsOptions {
  readonly maxLimiters?: number;
  /** Undefined for limits of this process alone. */
  readonly shared?: SharedCounters | undefined;
}

/** A shared store gets them in one packet. */
const PEEKS_AT_ONCE = 100;

const NO_LIMITS: readonly KeyLimiter[] = [];

/**
 * The limits of issued keys, which apply in addition to those of services. Only keys with a limit have a limiter.
 * @param issuersOf the keys that issued this one, the nearest first.
 */
export function createKeyLimits(
  issuersOf: (id: string) => Iterable<LimitedKey>,
  { maxLimiters = KEY_LIMITERS_LIMIT, shared }: KeyLimitsOptions = {},
): KeyLimits {
  const limiters = new Map<string, KeyLimiter & { readonly limit: KeyLimit }>();
  function find({ id, key: { rateLimit: limit } }: LimitedKey): KeyLimiter | undefined {
    if (limit === null) return undefined;
    const known = limiters.get(id);
    // The record of a key is replaced as a whole: the same object is the same limit.
    if (known?.limit === limit) return known;
    if (known === undefined && limiters.size >= maxLimiters) limiters.clear();
    const kept = known !== undefined && isSameLimit(known.limit, limit) ? known.limiter : undefined;
    const limiter =
      kept ?? createLimiter({ ...limit, per: "caller" }, shared && { counters: shared, owner: `key:${id}` });
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
      const all = [...limiters.values()];
      for (let i = 0; i < all.length; i += PEEKS_AT_ONCE) {
        const some = all.slice(i, i + PEEKS_AT_ONCE);
        const states = await Promise.all(some.map(({ id, limiter }) => limiter.peek({ callerId: id, address: "" })));
        for (const [index, { id }] of some.entries()) if (states[index]?.isExceeded) ids.push(id);
        if (yielder.isDue) await yielder.yield();
      }
      return ids;
    },
  };
}

function isSameLimit(before: KeyLimit, now: KeyLimit): boolean {
  return before.maxRequests === now.maxRequests && before.windowMs === now.windowMs;
}
