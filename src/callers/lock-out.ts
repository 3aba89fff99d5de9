/**
 * Against guessing: whoever presents ten unknown keys within a minute is locked out for a minute, by address (IPv6 by /64).
 * Invariant: no other address is affected, nor a key that worked from this one within the hour; and memory is bounded, whatever
 * addresses turn up. Each table has a limit; at it the entry goes whose time ends first. Single tries from a million addresses
 * therefore push out counts, never a lock: that would take ten tries from each of as many addresses as there is room for.
 */
import { addressKey } from "../limits/limiters.ts";

const TRIES = 10;
const WINDOW_MS = 60_000;
const LOCK_MS = 60_000;
const GOOD_MS = 3_600_000;

/** Of counts, of locks, and, twice, of good keys by address: up to about 400 bytes each. */
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
  // All entries of one of these live equally long: the first one in the Map is the first to end.
  const counts = new Map<string, Count>();
  const locks = new Map<string, Count>();
  const good = createGoodKeys(limit);
  const keyOf = createAddressKeys();

  function lockedForMs(address: string, now: number): number {
    // The usual case: nobody is.
    if (locks.size === 0) return 0;
    dropEnded(locks, now);
    const lock = locks.get(keyOf(address));
    return lock === undefined ? 0 : lock.endsAt - now;
  }

  return {
    lockedForMs,
    isLocked: (address, now) => lockedForMs(address, now) > 0,
    noteUnknown(address, now) {
      const key = keyOf(address);
      dropEnded(counts, now);
      dropEnded(locks, now);
      if (locks.has(key)) return;
      const count = counts.get(key) ?? { tries: 0, endsAt: now + WINDOW_MS };
      count.tries += 1;
      if (count.tries < TRIES) {
        keep(counts, key, count, limit);
      } else {
        counts.delete(key);
        keep(locks, key, { tries: count.tries, endsAt: now + LOCK_MS }, limit);
      }
    },
    noteGood: (address, digest, now) => good.note(keyOf(address), digest, now),
    stays: (address, digest, now) => good.has(keyOf(address), digest, now),
    get size() {
      return counts.size + locks.size + good.size;
    },
  };
}

function dropEnded(entries: Map<string, Count>, now: number): void {
  for (const [key, { endsAt }] of entries) {
    if (endsAt > now) return;
    entries.delete(key);
  }
}

function keep(entries: Map<string, Count>, key: string, count: Count, limit: number): void {
  if (!entries.has(key) && entries.size >= limit) entries.delete(entries.keys().next().value as string);
  entries.set(key, count);
}

interface GoodKey {
  lastAt: number;
}

/** By address, then by digest: no text is made for a request that is let in. */
type GoodKeys = Map<string, Map<string, GoodKey>>;

/**
 * Two halves: what was used since the turn, and what was used before it and not since. A turn drops the older half; it comes after
 * an hour, or when the newer one is full. So what is forgotten early is what was used the longest ago.
 */
function createGoodKeys(limit: number) {
  let present: GoodKeys = new Map();
  let before: GoodKeys = new Map();
  let presentSize = 0;
  let beforeSize = 0;
  let turnsAt = Number.NEGATIVE_INFINITY;

  function turn(now: number): void {
    before = present;
    beforeSize = presentSize;
    present = new Map();
    presentSize = 0;
    turnsAt = now + GOOD_MS;
  }

  return {
    note(address: string, digest: string, now: number): void {
      if (now >= turnsAt) turn(now);
      let keys = present.get(address);
      const known = keys?.get(digest);
      if (known !== undefined) {
        known.lastAt = now;
        return;
      }
      if (presentSize >= limit) {
        turn(now);
        keys = undefined;
      }
      if (keys === undefined) {
        keys = new Map();
        present.set(address, keys);
      }
      keys.set(digest, { lastAt: now });
      presentSize += 1;
    },
    has(address: string, digest: string, now: number): boolean {
      const lastAt = (present.get(address)?.get(digest) ?? before.get(address)?.get(digest))?.lastAt;
      return lastAt !== undefined && now - lastAt < GOOD_MS;
    },
    get size() {
      return presentSize + beforeSize;
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
