/**
 * Stops guessing: an address that presents ten unknown keys within a minute is locked out for a minute (IPv6 by /64).
 * Requests that a foreign web page may have sent are counted, and locked out, apart from all others: a page that a developer
 * visits must not lock out the programs on the developer's machine.
 * Invariant: no other address is affected, nor a key that worked from this address within the last hour; and memory is bounded.
 * Each table has a limit, at which its oldest entries are dropped. One network does not fill it: in a table that is half full, the
 * addresses of a network with many entries are counted, and locked out, together. Single attempts from a million addresses drop
 * counts, never a lock: to drop a lock, as many addresses as the table holds would need ten attempts each.
 */
import { createAddressKeys } from "../limits/address-key.ts";
import { Crowding, netsOf } from "../limits/crowding.ts";

const ATTEMPTS = 10;
const WINDOW_MS = 60_000;
const LOCK_MS = 60_000;
const GOOD_MS = 3_600_000;
/** A pair of address and key that was noted is not noted again for this long. */
const SAME_MS = 1_000;

/** Limit of the counts, of the locks and of the known pairs; up to twice as many are kept. About 300 bytes each. */
const ENTRIES_LIMIT = 50_000;

/** The caller passes all times, in ms on a clock that never goes back. */
export interface LockOut {
  /** False if no request at all has to be refused. */
  readonly hasLocks: boolean;
  /** Whether to refuse the address, unless its key `isExempt`. What it presents meanwhile must not be noted. */
  isLocked(address: string, now: number, from?: Sender): boolean;
  /** Ms until the address may try again; 0 when it is not locked. */
  lockedForMs(address: string, now: number, from?: Sender): number;
  /** An unknown key: not a missing, expired or revoked one. */
  noteUnknown(address: string, now: number, from?: Sender): void;
  /** A valid key. @param digest of the key. */
  noteGood(address: string, digest: string, now: number): void;
  /** Whether this key worked from this address within the last hour. */
  isExempt(address: string, digest: string, now: number): boolean;
  /** Entries in memory. */
  readonly size: number;
}

/** A page: one of another origin may have sent the request. */
export type Sender = "program" | "page";

interface Count {
  attempts: number;
  readonly endsAt: number;
}

/** @param limit of the entries of each table. */
export function createLockOut(limit = ENTRIES_LIMIT): LockOut {
  const crowding = new Crowding(limit);
  const counts = createAgingMap<Count>(limit, WINDOW_MS, () => crowding.rotate());
  /** Until then a whole network may be locked. */
  let netsLockedUntil = 0;
  /** The time at which each lock ends. */
  const locks = createAgingMap<number>(limit, LOCK_MS);
  const good = createAgingMap<{ lastAt: number }>(limit, GOOD_MS);
  const keyOf = createAddressKeys();
  const pairOf = (address: string, digest: string) => `${digest} ${keyOf(address)}`;
  /** The pair that was noted last: with one application as the client nearly every request has the same one. */
  let last = { address: "", digest: "", at: Number.NEGATIVE_INFINITY };

  const nameOf = (key: string, from: Sender) => (from === "page" ? `page ${key}` : key);

  function lockedForMs(address: string, now: number, from: Sender = "program"): number {
    // Usually no address is locked.
    if (locks.size === 0) return 0;
    const key = keyOf(address);
    let until = locks.get(nameOf(key, from)) ?? 0;
    if (now < netsLockedUntil)
      for (const net of netsOf(key)) until = Math.max(until, locks.get(nameOf(net, from)) ?? 0);
    return Math.max(0, until - now);
  }

  return {
    get hasLocks() {
      return locks.size > 0;
    },
    lockedForMs,
    isLocked: (address, now, from) => lockedForMs(address, now, from) > 0,
    noteUnknown(address, now, from = "program") {
      if (lockedForMs(address, now, from) > 0) return;
      const own = keyOf(address);
      const hasEntry = counts.get(nameOf(own, from)) !== undefined;
      const counted = hasEntry ? own : crowding.keyFor(own, counts.size + locks.size);
      const key = nameOf(counted, from);
      const count = counts.get(key);
      if (count === undefined || count.endsAt <= now) {
        counts.set(key, { attempts: 1, endsAt: now + WINDOW_MS }, now);
        if (count === undefined) crowding.entered(counted);
        return;
      }
      count.attempts += 1;
      if (count.attempts < ATTEMPTS) return;
      counts.delete(key);
      locks.set(key, now + LOCK_MS, now);
      if (counted !== own) netsLockedUntil = now + LOCK_MS;
    },
    noteGood(address, digest, now) {
      if (now - last.at < SAME_MS && last.digest === digest && last.address === address) return;
      last = { address, digest, at: now };
      const pair = pairOf(address, digest);
      const known = good.getRecent(pair, now);
      if (known === undefined) good.set(pair, { lastAt: now }, now);
      else known.lastAt = now;
    },
    isExempt(address, digest, now) {
      const known = good.get(pairOf(address, digest));
      return known !== undefined && now - known.lastAt < GOOD_MS;
    },
    get size() {
      return counts.size + locks.size + good.size;
    },
  };
}

/**
 * A Map in two halves: entries set since the last rotation, and entries set before it. A rotation drops the older half. It comes
 * with the first entry after a lifetime, or when the newer half is full. A single Map is slow when its first
 * entry is deleted over and over: it walks over everything that was deleted before. @param lifeMs that an entry stays at least, unless there are too many.
 */
function createAgingMap<V>(limit: number, lifeMs: number, onRotate: () => void = () => {}) {
  let newer = new Map<string, V>();
  let older = new Map<string, V>();
  let rotatesAt = Number.NEGATIVE_INFINITY;
  const rotateIfDue = (now: number) => {
    if (now < rotatesAt && newer.size < limit) return;
    older = newer;
    newer = new Map();
    rotatesAt = now + lifeMs;
    onRotate();
  };
  return {
    get: (key: string) => newer.get(key) ?? older.get(key),
    /** From the newer half only. */
    getRecent(key: string, now: number): V | undefined {
      if (now >= rotatesAt) rotateIfDue(now);
      return newer.get(key);
    },
    set(key: string, value: V, now: number): void {
      rotateIfDue(now);
      older.delete(key);
      newer.set(key, value);
    },
    delete(key: string): void {
      newer.delete(key);
      older.delete(key);
    },
    get size() {
      return newer.size + older.size;
    },
  };
}
