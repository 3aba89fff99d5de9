/**
 * The ledger: accounts of what upstreams still allow, with what is in flight set aside.
 * Invariant: the points that are set aside and not yet settled never exceed what is left; and what a holder that died had set
 * aside is free again when its lease is over.
 */

/** What an upstream allows until `resetsAt`. */
export interface Account {
  readonly limit: number;
  readonly remaining: number;
  /** ms since the epoch. */
  readonly resetsAt: number;
}

export type Reservation =
  | { readonly isGranted: true; readonly id: string }
  /** Nothing is free before then, unless a reservation is given back. */
  | { readonly isGranted: false; readonly resetsAt: number };

export interface LedgerEntry {
  readonly key: string;
  readonly account: Account;
  readonly reserved: number;
}

/** Times are ms since the epoch, told by the caller. All of it is async: a shared store will answer one day. */
export interface Ledger {
  /** Sets points aside for at most `leaseMs`. Granted where nothing is known: the answer will tell. */
  reserve(key: string, points: number, leaseMs: number, now: number): Promise<Reservation>;
  /** The request was sent: its points are spent. @param observed what the answer said, which counts for more. */
  settle(key: string, id: string, observed: Account | undefined, now: number): Promise<void>;
  /** Nothing was sent: the points are free again. */
  release(key: string, id: string, now: number): Promise<void>;
  /** @param prefix of the keys; all of them, when left out. */
  list(now: number, prefix?: string): Promise<readonly LedgerEntry[]>;
  /** Drops what is known of the keys that begin so, and what was set aside on them. */
  forget(prefix: string): Promise<void>;
  /** Keeps what it knows. */
  close(): Promise<void>;
}

interface Lease {
  readonly points: number;
  readonly until: number;
}

interface KeptAccount {
  account: Account | undefined;
  readonly leases: Map<string, Lease>;
}

export interface LedgerOptions {
  /** What was known when the process ended. */
  readonly initial?: Iterable<readonly [key: string, account: Account]>;
  /** Told after each change of an account. */
  readonly onChange?: () => void;
  /** Accounts kept; those whose time is over make room first, then those that were used the longest ago. */
  readonly limit?: number;
  readonly close?: () => Promise<void>;
}

/** About 300 bytes each. */
const ACCOUNTS_LIMIT = 20_000;

/** Accounts that are looked at to make room for one: those that were used the longest ago. */
const LOOKED_AT = 32;

/** Two answers speak of the same window when their resets are this near: upstreams count in whole seconds. */
const SAME_WINDOW_MS = 1_500;

export interface MemoryLedger extends Ledger {
  /** For a file. */
  accounts(): Iterable<readonly [key: string, account: Account]>;
}

export function createLedger(options: LedgerOptions = {}): MemoryLedger {
  const { initial = [], onChange = () => {}, limit = ACCOUNTS_LIMIT, close = async () => {} } = options;
  const kept = new Map<string, KeptAccount>();
  for (const [key, account] of initial) kept.set(key, { account, leases: new Map() });
  let lastId = 0;

  /** The account as it is now: renewed when its window is over, without the leases that ran out. */
  function current(key: string, now: number): KeptAccount {
    let entry = kept.get(key);
    if (entry === undefined) {
      if (kept.size >= limit) makeRoom(now);
      entry = { account: undefined, leases: new Map() };
    }
    // The last used is the last in the Map.
    kept.delete(key);
    kept.set(key, entry);
    renew(entry, now);
    return entry;
  }

  function makeRoom(now: number): void {
    let oldest: string | undefined;
    let looked = 0;
    for (const [key, { account, leases }] of kept) {
      if (++looked > LOOKED_AT && oldest !== undefined) break;
      if (leases.size > 0) continue;
      oldest ??= key;
      if (account !== undefined && account.resetsAt > now) continue;
      oldest = key;
      break;
    }
    if (oldest !== undefined) kept.delete(oldest);
  }

  return {
    async reserve(key, points, leaseMs, now) {
      const { account, leases } = current(key, now);
      if (account !== undefined && account.remaining - reservedOf(leases, now) < points) {
        return { isGranted: false, resetsAt: account.resetsAt };
      }
      lastId += 1;
      leases.set(String(lastId), { points, until: now + leaseMs });
      return { isGranted: true, id: String(lastId) };
    },
    async settle(key, id, observed, now) {
      const entry = current(key, now);
      const points = entry.leases.get(id)?.points ?? 0;
      entry.leases.delete(id);
      // What tells of another window says nothing of this one, where the point is gone all the same.
      const isOfThisOne = observed !== undefined && !isEarlier(observed, entry.account);
      entry.account = isOfThisOne ? corrected(entry.account, observed) : spent(entry.account, points);
      onChange();
    },
    async release(key, id, now) {
      current(key, now).leases.delete(id);
    },
    async forget(prefix) {
      for (const key of kept.keys()) if (key.startsWith(prefix)) kept.delete(key);
      onChange();
    },
    async list(now, prefix = "") {
      return [...kept].flatMap(([key, entry]) => {
        if (!key.startsWith(prefix)) return [];
        renew(entry, now);
        return entry.account === undefined
          ? []
          : [{ key, account: entry.account, reserved: reservedOf(entry.leases, now) }];
      });
    },
    *accounts() {
      for (const [key, { account }] of kept) if (account !== undefined) yield [key, account];
    },
    close,
  };
}

/** A request that outlives its lease was sent all the same: for this long its points are still known, though no longer set aside. */
const LATE_MS = 600_000;

function renew(entry: KeptAccount, now: number): void {
  for (const [id, { until }] of entry.leases) if (until + LATE_MS <= now) entry.leases.delete(id);
  // Nothing is known of the next window until an answer tells.
  if (entry.account !== undefined && entry.account.resetsAt <= now) entry.account = undefined;
}

function reservedOf(leases: ReadonlyMap<string, Lease>, now: number): number {
  let sum = 0;
  for (const { points, until } of leases.values()) if (until > now) sum += points;
  return sum;
}

function spent(account: Account | undefined, points: number): Account | undefined {
  return account && { ...account, remaining: Math.max(0, account.remaining - points) };
}

/** Of a window before the account's. */
function isEarlier(observed: Account, account: Account | undefined): boolean {
  return account !== undefined && observed.resetsAt < account.resetsAt - SAME_WINDOW_MS;
}

/** Answers overtake each other: of two about one window the one that leaves less is the later one, and the later end is the safe one. */
function corrected(account: Account | undefined, observed: Account): Account {
  if (account === undefined || observed.resetsAt > account.resetsAt + SAME_WINDOW_MS) return observed;
  return {
    limit: observed.limit,
    remaining: Math.min(account.remaining, observed.remaining),
    resetsAt: Math.max(account.resetsAt, observed.resetsAt),
  };
}
