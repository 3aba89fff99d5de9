/**
 * What a response teaches, and what the ledger kept over a restart: into the bucket, the gates and the ledger's accounts.
 * Invariant: everything learned here that holds back a request is in the ledger too, so that it survives a restart. A ledger that
 * fails holds back no request: nothing is thrown, and its missing decision counts as a permission.
 */
import type { Account, Ledger } from "../../stores/ledger.ts";
import type { Bucket } from "./bucket.ts";
import type { Buckets } from "./buckets.ts";
import type { Gates } from "./gates.ts";
import type { Closure, QuotaResponse, QuotaRoute, QuotaRules } from "./rules.ts";

/** Ids of reservations by the keys of their accounts. */
export type Reserved = ReadonlyMap<string, string>;

/** Occurs neither in the name of a bucket nor in a route. */
const SEPARATOR = "\n";

/** The ledger's accounts of one credential. */
export class LedgerAccounts {
  readonly #ledger: Pick<Ledger, "reserve" | "settle" | "release" | "forget">;
  readonly #prefix: string;

  /** @param prefix of the ledger's keys. */
  constructor(ledger: Pick<Ledger, "reserve" | "settle" | "release" | "forget">, prefix: string) {
    this.#ledger = ledger;
    this.#prefix = prefix;
  }

  /** Reserves one point on each account, or none. @returns when to ask again, ms since the epoch, if one is exhausted. */
  async reserve(keys: readonly string[], leaseMs: number, now: number): Promise<Reserved | number> {
    const reserved = new Map<string, string>();
    for (const key of keys) {
      let reservation: Awaited<ReturnType<Ledger["reserve"]>>;
      try {
        reservation = await this.#ledger.reserve(key, 1, leaseMs, now);
      } catch {
        continue;
      }
      if (reservation.isGranted) {
        reserved.set(key, reservation.id);
        continue;
      }
      this.release(reserved, now);
      return Math.max(reservation.resetsAt, now + 1);
    }
    return reserved;
  }

  /** @param id of the reservation, if there was one. @param observed what the response reported. */
  settle(key: string, id: string | undefined, observed: Account | undefined, now: number): void {
    this.#ledger.settle(key, id ?? "", observed, now).catch(ignore);
  }

  release(reserved: Reserved, now: number): void {
    for (const [key, id] of reserved) this.#ledger.release(key, id, now).catch(ignore);
  }

  /** Of all windows of the bucket, and of its closure; or of the closure of all buckets. */
  forget(bucket: string, window = ""): void {
    this.#ledger.forget(this.keyOf(bucket, window)).catch(ignore);
  }

  keyOf(bucket: string, window: string): string {
    return `${this.#prefix}${bucket}${SEPARATOR}${window}`;
  }

  /** Undefined if the key belongs to another credential. */
  partsOf(key: string): { readonly bucket: string; readonly window: string } | undefined {
    const at = key.lastIndexOf(SEPARATOR);
    if (!key.startsWith(this.#prefix) || at < this.#prefix.length) return undefined;
    return { bucket: key.slice(this.#prefix.length, at), window: key.slice(at + 1) };
  }
}

/** A failed write corrects itself: leases expire, and the next response reports what is left. */
function ignore(): void {}

export interface QuotaParts {
  readonly rules: QuotaRules;
  readonly accounts: LedgerAccounts;
  readonly gates: Gates;
  readonly buckets: Buckets;
}

export interface Lesson {
  readonly route: QuotaRoute;
  readonly response: QuotaResponse;
  readonly reserved: Reserved;
  /** ms since the epoch. */
  readonly sentAt: number;
  /** Other requests of the bucket that were in flight during this one. */
  readonly overlapping: number;
}

/** Used as a window's name: the account of a closure. */
const CLOSED = "(closed)";
/** Used as a bucket's name: the account holds for all of them. */
const ALL = "(all)";
/** Used as a window's name: the account of the refusals that count towards a ban. */
const REFUSALS = "(refusals)";
/** A window's name with this prefix holds the name of the route's bucket. */
const IS = "(is)";

/** Whether the account of this key holds requests back: it is not the name of a bucket. */
export const isHold = (key: string) => !key.includes(SEPARATOR + IS);

/** How long a route's bucket is remembered without a response that names it, ms. */
const NAME_KEPT_MS = 7 * 86_400_000;

/** @returns the bucket that the response was counted in. */
export function learnResponse(taken: Bucket, lesson: Lesson, parts: QuotaParts, now: number): Bucket {
  const { route, response, reserved, sentAt, overlapping } = lesson;
  const { status, reading, closure } = response;
  const { rules, accounts, gates, buckets } = parts;
  learnName(route, reading.bucket, parts, now);
  const bucket = buckets.rename(taken, route, reading.bucket, now);
  const corrected = bucket.learn(status, reading, {
    isRefusal: closure !== undefined,
    inFlight: 1,
    overlapping,
    sentAt,
    now,
    hasFixedWindows: rules.hasFixedWindows,
  });
  const settled = new Set<string>();
  for (const { name: window, limit, remaining, resetsAt } of corrected) {
    const key = accounts.keyOf(bucket.key, window);
    settled.add(key);
    accounts.settle(key, reserved.get(key), { limit: limit ?? remaining, remaining, resetsAt }, now);
  }
  for (const [key, id] of reserved) if (!settled.has(key)) accounts.settle(key, id, undefined, now);
  const budget = gates.note(status, reading.scope, now);
  if (budget !== undefined) accounts.settle(accounts.keyOf(ALL, REFUSALS), undefined, budget, now);
  if (closure !== undefined) close(bucket, closure, parts, now);
  return bucket;
}

function learnName(
  { name: routeName }: QuotaRoute,
  name: string | undefined,
  { accounts, buckets }: QuotaParts,
  now: number,
): void {
  if (name === undefined || !buckets.learnName(routeName, name)) return;
  // The usual name is stored without a route: it holds for every route that has no other.
  const known = name === buckets.usualName ? "" : routeName;
  if (name === known) return;
  const kept = { limit: 0, remaining: 0, resetsAt: now + NAME_KEPT_MS };
  accounts.settle(accounts.keyOf(known, IS + name), undefined, kept, now);
}

function close(bucket: Bucket, closure: Closure, { accounts, gates }: QuotaParts, now: number): void {
  const until = closure.isGuess ? bucket.guess(closure.until, now) : closure.until;
  if (closure.of === "all") gates.close(until);
  else bucket.closedUntil = Math.max(bucket.closedUntil, until);
  const account = { limit: 0, remaining: 0, resetsAt: until };
  accounts.settle(accounts.keyOf(closure.of === "all" ? ALL : bucket.key, CLOSED), undefined, account, now);
}

/** A trial had a response: the holds that it was sent despite are no longer known. */
export function forgetHolds(bucket: Bucket, { accounts, gates }: QuotaParts): void {
  bucket.forgetHolds();
  gates.reopen();
  accounts.forget(bucket.key);
  accounts.forget(ALL, CLOSED);
}

/** @param entries of the ledger; those of other credentials are ignored. */
export function restoreAccounts(
  entries: Iterable<readonly [key: string, account: Account]>,
  { accounts, gates, buckets }: QuotaParts,
  now: number,
): void {
  for (const [key, account] of entries) {
    const parts = accounts.partsOf(key);
    if (parts === undefined || account.resetsAt <= now) continue;
    const { bucket: name, window } = parts;
    if (window.startsWith(IS)) buckets.learnName(name, window.slice(IS.length));
    else if (name === ALL && window === CLOSED) gates.close(account.resetsAt);
    else if (name === ALL && window === REFUSALS) gates.restoreBudget(account);
    else {
      const bucket = buckets.open(name, now);
      if (window === CLOSED) bucket.closedUntil = Math.max(bucket.closedUntil, account.resetsAt);
      else bucket.restore(window, account, now);
    }
  }
}
