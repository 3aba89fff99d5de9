/**
 * Against guessing: whoever presents ten unknown keys within a minute is locked out for a minute, by address (IPv6 by /64).
 * Invariant: no other address is affected, nor a key that worked from this one within the hour; and memory is bounded, whatever
 * addresses turn up. Each table has a limit; beyond it what is oldest goes. Single tries from a million addresses therefore push out
 * counts, never a lock: that would take ten tries from each of as many addresses as there is room for.
 */
import { addressKey } from "../limits/address-key.ts";

const TRIES = 10;
const WINDOW_MS = 60_000;
const LOCK_MS = 60_000;
const GOOD_MS = 3_600_000;
/** For so long a pair that was noted need not be noted again. */
const SAME_MS = 1_000;

/** Of counts, of locks and of good keys by address, each; up to twice as many are kept. About 300 bytes each. */
const ENTRIES_LIMIT = 50_000;
/** Addresses whose key is remembered, so that it is not made anew for each request. */
const ADDRESSES_LIMIT = 10_000;

/** Times are ms since any one moment, told by the caller, and do not go back. */
export interface LockOut {
  /** Whether it is to be refused, unless its key `stays`. What it presents meanwhile is not to be noted. */
  isLocked(address: string, now: number): boolean;
  /** Ms until it may try again; 0 for an address that is not locked. */
  lockedForMs(address: string, now: number): number;
  /** A key that nobody has: not a missing, expired or revoked one. */
  noteUnknown(address: string, now: number): void;
  /** A key that worked. @param digest of the key. */
  noteGood(address: string, digest: string, now: number): void;
  /** Whether this key worked from this address within the hour. */
  stays(address: string, digest: string, now: number): boolean;
  /** Entries in memory. */
  readonly size: number;
}

interface Count {
  tries: number;
  readonly endsAt: number;
}

/** @param limit entries of each kind. */
export function createLockOut(limit = ENTRIES_LIMIT): LockOut {
  const counts = createAgeing<Count>(limit, WINDOW_MS);
  /** When each ends. */
  const locks = createAgeing<number>(limit, LOCK_MS);
  const good = createAgeing<{ lastAt: number }>(limit, GOOD_MS);
  const keyOf = createAddressKeys();
  const pairOf = (address: string, digest: string) => `${digest} ${keyOf(address)}`;
  /** The pair that was noted last: beside an application nearly every request comes with the same one. */
  let last = { address: "", digest: "", at: Number.NEGATIVE_INFINITY };

  function lockedForMs(address: string, now: number): number {
    // The usual case: nobody is.
    return locks.size === 0 ? 0 : Math.max(0, (locks.get(keyOf(address)) ?? 0) - now);
  }

  return {
    lockedForMs,
    isLocked: (address, now) => lockedForMs(address, now) > 0,
    noteUnknown(address, now) {
      if (lockedForMs(address, now) > 0) return;
      const key = keyOf(address);
      const count = counts.get(key);
      if (count === undefined || count.endsAt <= now) {
        counts.set(key, { tries: 1, endsAt: now + WINDOW_MS }, now);
        return;
      }
      count.tries += 1;
      if (count.tries < TRIES) return;
      counts.delete(key);
      locks.set(key, now + LOCK_MS, now);
    },
    noteGood(address, digest, now) {
      if (now - last.at < SAME_MS && last.digest === digest && last.address === address) return;
      last = { address, digest, at: now };
      const pair = pairOf(address, digest);
      const known = good.getRecent(pair, now);
      if (known === undefined) good.set(pair, { lastAt: now }, now);
      else known.lastAt = now;
    },
    stays(address, digest, now) {
      const known = good.get(pairOf(address, digest));
      return known !== undefined && now - known.lastAt < GOOD_MS;
    },
    get size() {
      return counts.size + locks.size + good.size;
    },
  };
}

/**
 * A Map in two halves: what was set since the turn, and what was set before it. A turn drops the older half; it comes with the first
 * entry after a lifetime, or when the newer half is full. A single Map whose first entry is deleted again and again is slow: it
 * looks through all that was deleted before. @param lifeMs for which an entry is there at least, unless there are too many.
 */
function createAgeing<V>(limit: number, lifeMs: number) {
  let present = new Map<string, V>();
  let before = new Map<string, V>();
  let turnsAt = Number.NEGATIVE_INFINITY;
  const turnIfDue = (now: number) => {
    if (now < turnsAt && present.size < limit) return;
    before = present;
    present = new Map();
    turnsAt = now + lifeMs;
  };
  return {
    get: (key: string) => present.get(key) ?? before.get(key),
    /** Of the newer half only. */
    getRecent(key: string, now: number): V | undefined {
      if (now >= turnsAt) turnIfDue(now);
      return present.get(key);
    },
    set(key: string, value: V, now: number): void {
      turnIfDue(now);
      before.delete(key);
      present.set(key, value);
    },
    delete(key: string): void {
      present.delete(key);
      before.delete(key);
    },
    get size() {
      return present.size + before.size;
    },
  };
}

/** Reading an address takes longer than all the rest: the same few come again and again. */
function createAddressKeys() {
  let known = new Map<string, string>();
  return (address: string): string => {
    let key = known.get(address);
    if (key === undefined) {
      key = addressKey(address);
      if (known.size >= ADDRESSES_LIMIT) known = new Map();
      known.set(address, key);
    }
    return key;
  };
}
