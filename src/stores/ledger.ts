/**
 * The ledger: accounts of the requests that upstreams still allow, with points reserved for requests in flight. With a file it
 * outlives the process: an exhausted quota stays exhausted over a restart.
 * Invariant: reserved points never exceed the points that remain; and the points of a holder that died are free again when its
 * lease is over.
 */
import { isObject } from "../is-object.ts";
import { openPeriodicFile, readState } from "./state-file.ts";

/** The requests that an upstream allows until `resetsAt`. */
export interface Account {
  readonly limit: number;
  readonly remaining: number;
  /** ms since the epoch. */
  readonly resetsAt: number;
}

export type Reservation =
  | { readonly isGranted: true; readonly id: string }
  /** No point is free before then, unless a reservation is released. */
  | { readonly isGranted: false; readonly resetsAt: number };

export interface LedgerEntry {
  readonly key: string;
  readonly account: Account;
  readonly reserved: number;
}

/** The caller passes all times, ms since the epoch. Async, because a shared store is planned. */
export interface Ledger {
  /** Reserves points for at most `leaseMs`. Granted for an unknown account: the response will show what is left. */
  reserve(key: string, points: number, leaseMs: number, now: number): Promise<Reservation>;
  /** The request was sent: its points are spent. @param observed the account in the response, which takes precedence. */
  settle(key: string, id: string, observed: Account | undefined, now: number): Promise<void>;
  /** The request was not sent: its points are free again. */
  release(key: string, id: string, now: number): Promise<void>;
  /** @param prefix of the keys; all keys, when left out. */
  list(now: number, prefix?: string): Promise<readonly LedgerEntry[]>;
  /** Drops the accounts whose keys have this prefix, with their reservations. */
  forget(prefix: string): Promise<void>;
  /** Writes pending changes. */
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
  /** The accounts of the process before. */
  readonly initial?: Iterable<readonly [key: string, account: Account]>;
  /** Called after each change of an account. */
  readonly onChange?: () => void;
  /** Accounts kept; expired ones are dropped first, then the least recently used. */
  readonly limit?: number;
  readonly close?: () => Promise<void>;
}

/** About 300 bytes each. */
const ACCOUNTS_LIMIT = 20_000;

/** Between two writes of the file, ms. */
const SAVE_INTERVAL_MS = 1_000;

/** Accounts examined to make room for one: the least recently used. */
const EXAMINED = 32;

/** Two responses describe the same window when their resets are at most this far apart: upstreams count in whole seconds. */
const SAME_WINDOW_MS = 1_500;

export interface MemoryLedger extends Ledger {
  /** For the file. */
  accounts(): Iterable<readonly [key: string, account: Account]>;
}

export function createLedger(options: LedgerOptions = {}): MemoryLedger {
  const { initial = [], onChange = () => {}, limit = ACCOUNTS_LIMIT, close = async () => {} } = options;
  const kept = new Map<string, KeptAccount>();
  for (const [key, account] of initial) kept.set(key, { account, leases: new Map() });
  let lastId = 0;

  /** The account as it is now: cleared when its window is over, without expired leases. */
  function current(key: string, now: number): KeptAccount {
    let entry = kept.get(key);
    if (entry === undefined) {
      if (kept.size >= limit) makeRoom(now);
      entry = { account: undefined, leases: new Map() };
    }
    // Keeps the Map in order of last use.
    kept.delete(key);
    kept.set(key, entry);
    renew(entry, now);
    return entry;
  }

  function makeRoom(now: number): void {
    let oldest: string | undefined;
    let examined = 0;
    for (const [key, { account, leases }] of kept) {
      if (++examined > EXAMINED && oldest !== undefined) break;
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
      // A response about an earlier window says nothing about the current one, and the point is spent in any case.
      const isCurrent = observed !== undefined && !isEarlier(observed, entry.account);
      entry.account = isCurrent ? corrected(entry.account, observed) : spent(entry.account, points);
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

export interface FileLedgerOptions {
  readonly path: string;
  /** Called when a write fails. */
  readonly onFailure: (error: unknown) => void;
  readonly saveIntervalMs?: number;
}

/** @throws StateFileUnusable */
export function openFileLedger({ path, onFailure, saveIntervalMs = SAVE_INTERVAL_MS }: FileLedgerOptions): Ledger {
  const initial = readState(path, isAccount)?.entries ?? [];
  const file = openPeriodicFile<Account>({
    path,
    intervalMs: saveIntervalMs,
    onFailure,
    entries: () => ledger.accounts(),
  });
  const ledger: MemoryLedger = createLedger({ initial, onChange: file.touch, close: file.close });
  return ledger;
}

function isAccount(value: unknown): value is Account {
  return isObject(value) && [value.limit, value.remaining, value.resetsAt].every(Number.isFinite);
}

/** A request may outlive its lease: for this long, ms, its points are still known, although no longer reserved. */
const LATE_MS = 600_000;

function renew(entry: KeptAccount, now: number): void {
  for (const [id, { until }] of entry.leases) if (until + LATE_MS <= now) entry.leases.delete(id);
  // The next window is unknown until a response describes it.
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

/** True for an observation of a window before the account's. */
function isEarlier(observed: Account, account: Account | undefined): boolean {
  return account !== undefined && observed.resetsAt < account.resetsAt - SAME_WINDOW_MS;
}

/** Responses overtake each other: of two about one window, the one with less remaining is the later one, and the later reset is the safe one. */
function corrected(account: Account | undefined, observed: Account): Account {
  if (account === undefined || observed.resetsAt > account.resetsAt + SAME_WINDOW_MS) return observed;
  return {
    limit: observed.limit,
    remaining: Math.min(account.remaining, observed.remaining),
    resetsAt: Math.max(account.resetsAt, observed.resetsAt),
  };
}
