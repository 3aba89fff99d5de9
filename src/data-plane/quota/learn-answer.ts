/**
 * What an answer teaches, and what the ledger kept over a restart: into the bucket, the gates and the accounts.
 * Invariant: whatever is learned here that holds back a request is in the ledger too, so that it outlives the process.
 */
import type { Account } from "../../stores/ledger.ts";
import type { Accounts, Reserved } from "./accounts.ts";
import type { Bucket } from "./bucket.ts";
import type { BucketMember, Buckets } from "./buckets.ts";
import type { Gates } from "./gates.ts";
import type { QuotaReading } from "./read-quota.ts";
import type { Closure, QuotaRoute, QuotaRules } from "./rules.ts";

export interface QuotaParts<T extends BucketMember> {
  readonly rules: QuotaRules;
  readonly accounts: Accounts;
  readonly gates: Gates;
  readonly buckets: Buckets<T>;
}

export interface Answer {
  readonly route: QuotaRoute;
  readonly status: number;
  readonly reading: QuotaReading;
  readonly reserved: Reserved;
  /** ms since the epoch. */
  readonly sentAt: number;
  /** Other requests of the bucket that were on their way while this one was. */
  readonly overlapping: number;
}

/** The account of a closure, in the place of a window. */
const CLOSED = "(closed)";
/** The bucket of what holds for all of them. */
const ALL = "(all)";
/** The account of the refusals that count towards a ban. */
const REFUSALS = "(refusals)";
/** Before a bucket's name, in the place of a window: the route before it has this one. */
const IS = "(is)";

/** For so long is a route's bucket known without an answer that names it, ms. */
const NAME_KEPT_MS = 7 * 86_400_000;

/** @returns the bucket that it was counted in. */
export function learnAnswer<T extends BucketMember>(
  taken: Bucket<T>,
  { route, status, reading, reserved, sentAt, overlapping }: Answer,
  parts: QuotaParts<T>,
  now: number,
): Bucket<T> {
  const { rules, accounts, gates, buckets } = parts;
  const name = reading.bucket;
  if (name !== undefined && buckets.learnName(route.name, name)) {
    // The usual one is that of all routes of which nothing else is known.
    const known = name === buckets.usualName ? "" : route.name;
    const kept = { limit: 0, remaining: 0, resetsAt: now + NAME_KEPT_MS };
    if (name !== known) accounts.settle(accounts.keyOf(known, IS + name), undefined, kept, now);
  }
  const bucket = buckets.rename(taken, route, name, now);
  const closure = rules.closureOf(status, reading, now);
  const { hasFixedWindows } = rules;
  const told = { isRefusal: closure !== undefined, inFlight: 1, overlapping, sentAt, now, hasFixedWindows };
  const understood = bucket.learn(status, reading, told);
  const settled = new Set<string>();
  for (const { name: window, limit, remaining, resetsAt } of understood) {
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

function close<T extends BucketMember>(
  bucket: Bucket<T>,
  closure: Closure,
  { accounts, gates }: QuotaParts<T>,
  now: number,
): void {
  const until = closure.isGuess ? bucket.guess(closure.until, now) : closure.until;
  if (closure.of === "all") gates.close(until);
  else bucket.closedUntil = Math.max(bucket.closedUntil, until);
  const account = { limit: 0, remaining: 0, resetsAt: until };
  accounts.settle(accounts.keyOf(closure.of === "all" ? ALL : bucket.key, CLOSED), undefined, account, now);
}

/** @param entries of the ledger; those of other credentials are passed over. */
export function restoreAccounts<T extends BucketMember>(
  entries: Iterable<readonly [key: string, account: Account]>,
  { accounts, gates, buckets }: QuotaParts<T>,
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
