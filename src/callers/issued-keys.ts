/**
 * Creates, changes, rotates, revokes and lists issued keys.
 * Invariant: a key is shown once, when it is created or rotated; records and lists contain no part of it; and the number of
 * keys is bounded.
 *
 * A revoked key stays revoked and cannot be changed. The key before a rotation is known until the next rotation, so that a client
 * that still presents it learns that it expired and is not counted as guessing.
 */

import type { TokenBudget } from "../config/token-budget.ts";
import { ABSENT, type Records, VersionConflict } from "../stores/records.ts";
import { Yielder } from "../yielder.ts";
import { createIssuedKey, createKeyId, type StoredKey } from "./issued-key.ts";
import { createKeyFamily, type KeyFamily } from "./key-family.ts";
import { createKeyIndex, type KeyIndex, type KeyState, msOf } from "./key-index.ts";
import type { KeyUsage } from "./key-usage.ts";
import { digestOf } from "./presented-keys.ts";

/** Keys in any state. */
const KEYS_LIMIT = 100_000;
/** After this many ms a revoked or expired key may be deleted to make room for another. */
const ENDED_KEPT_MS = 30 * 24 * 3_600_000;

export interface IssuedKeys extends KeyIndex {
  /** @throws KeyLimitReached, or the store's failure: then the key does not exist. */
  create(wanted: NewKey, approve?: Approve): Promise<Issued>;
  /** Omitted fields keep their value. Undefined where there is no such key. @throws KeyEnded for a revoked key. */
  update(id: string, change: KeyChange, approve?: Approve): Promise<ListedKey | undefined>;
  /** Revoking twice changes nothing. */
  revoke(id: string): Promise<ListedKey | undefined>;
  /** @param graceSeconds how long the old key still works. @throws KeyEnded */
  rotate(id: string, graceSeconds: number, approve?: Approve): Promise<Issued | undefined>;
  get(id: string): ListedKey | undefined;
  readonly family: Omit<KeyFamily, "close">;
  /** Deletes the one of these keys that ended first. False if all are active, or issued others. */
  deleteEnded(ids: Iterable<string>): Promise<boolean>;
  /** Keys in any state. */
  readonly count: number;
  /** Newest first. */
  list(): Promise<readonly ListedKey[]>;
}

/** Throws when the change is not allowed; `present` is the key before it. No other change comes between this check and the change. */
export type Approve = (next: StoredKey, present: StoredKey) => void;

/** Permissions and addresses have been checked by their grammars. */
export type KeyChange = Partial<
  Pick<StoredKey, "name" | "permissions" | "expiresAt" | "rateLimit" | "allowIps" | "clientCert" | "budget" | "models">
>;

export type NewKey = KeyChange & Pick<StoredKey, "name" | "permissions" | "createdBy">;

/** A key as operators see it. */
export interface ListedKey extends Omit<StoredKey, "digests" | "clientCert" | "budget" | "models"> {
  readonly id: string;
  readonly clientCert: string | null;
  readonly budget: TokenBudget | null;
  readonly models: readonly string[] | null;
  readonly state: KeyState;
  /** The time until which the key before the last rotation works; null when it does not. */
  readonly graceUntil: string | null;
  readonly uses: number;
  readonly lastUsedAt: string | null;
}

export interface Issued {
  /** Shown only here. */
  readonly key: string;
  readonly item: ListedKey;
}

/** No key ended long enough ago to make room. */
export class KeyLimitReached extends Error {
  constructor(limit: number) {
    super(`the limit of ${limit} keys is reached; a revoked or expired key makes room after 30 days`);
  }
}

/** A revoked key cannot be changed, and only an active one can be rotated. */
export class KeyEnded extends Error {
  readonly state: KeyState;

  constructor(id: string, state: KeyState) {
    super(`the key ${id} is ${state}`);
    this.state = state;
  }
}

export interface IssuedKeysOptions {
  readonly records: Records<StoredKey>;
  readonly usage: KeyUsage;
  /** Ms since the epoch. */
  readonly now?: () => number;
  /** Called with each key that was deleted to make room. */
  readonly onDeleted?: (id: string) => void;
  readonly limit?: number;
  readonly checkIntervalMs?: number;
}

const APPROVE_ALL: Approve = () => {};

export function createIssuedKeys(options: IssuedKeysOptions): IssuedKeys {
  const { records, usage, now = Date.now, limit = KEYS_LIMIT, onDeleted = () => {} } = options;
  const index = createKeyIndex({ ...options, now });
  const family = createKeyFamily(records);
  const findEnded = (ids: Iterable<string>, before: number) => longestEnded(ids, before, { records, family });
  let creating = 0;
  const isKept = (id: string) => records.entries.has(id);
  // A crash may have come between the deletion of a key and that of its usage.
  usage.keepOnly(isKept);

  async function makeRoom(): Promise<void> {
    while (records.entries.size + creating > limit) {
      // Found without a wait, so that of two creations at the limit one succeeds.
      const oldest = findEnded(records.entries.keys(), now() - ENDED_KEPT_MS);
      if (oldest === undefined) throw new KeyLimitReached(limit);
      await remove(oldest);
    }
  }

  async function remove(id: string): Promise<void> {
    await records.delete(id);
    usage.keepOnly(isKept);
    onDeleted(id);
  }

  /** Retries until no concurrent change of the same key came in between. */
  async function change(
    id: string,
    edit: (key: StoredKey, state: KeyState) => StoredKey,
  ): Promise<ListedKey | undefined> {
    for (;;) {
      const present = records.entries.get(id);
      if (present === undefined) return undefined;
      const edited = edit(present.value, index.findById(id)?.state ?? "revoked");
      try {
        await records.put(id, edited, present.version);
        return get(id);
      } catch (error) {
        if (!(error instanceof VersionConflict)) throw error;
      }
    }
  }

  function get(id: string): ListedKey | undefined {
    const found = index.findById(id);
    if (found === undefined) return undefined;
    const { digests, ...key } = found.key;
    const before = index.find(digests[1]?.sha256 ?? "");
    const used = usage.of(id);
    return {
      id,
      ...key,
      clientCert: key.clientCert ?? null,
      budget: key.budget ?? null,
      models: key.models ?? null,
      state: found.state,
      graceUntil: before?.state === "active" ? (digests[1]?.validUntil ?? null) : null,
      uses: used?.uses ?? 0,
      lastUsedAt: used === undefined ? null : isoOf(used.lastUsedAt),
    };
  }

  async function create(wanted: NewKey, approve: Approve = APPROVE_ALL): Promise<Issued> {
    creating += 1;
    try {
      const id = createKeyId();
      const key = createIssuedKey();
      const record = newRecord(wanted, key, isoOf(now()));
      approve(record, record);
      await makeRoom();
      await records.put(id, record, ABSENT);
      return { key, item: get(id) as ListedKey };
    } finally {
      creating -= 1;
    }
  }

  async function rotate(id: string, graceSeconds: number, approve: Approve = APPROVE_ALL): Promise<Issued | undefined> {
    const key = createIssuedKey();
    const item = await change(id, (present, state) => {
      approve(present, present);
      if (state !== "active") throw new KeyEnded(id, state);
      const [last] = present.digests;
      const before = last === undefined ? [] : [{ ...last, validUntil: isoOf(now() + graceSeconds * 1_000) }];
      return { ...present, digests: [{ sha256: digestOf(key), validUntil: null }, ...before] };
    });
    return item && { key, item };
  }

  return {
    ...index,
    family,
    async deleteEnded(ids) {
      const oldest = findEnded(ids, now());
      if (oldest !== undefined) await remove(oldest);
      return oldest !== undefined;
    },
    close() {
      family.close();
      index.close();
    },
    get count() {
      return records.entries.size;
    },
    create,
    rotate,
    get,
    update: (id, wanted, approve = APPROVE_ALL) =>
      change(id, (present, state) => {
        const next = { ...present, ...changedParts(wanted) };
        approve(next, present);
        if (state === "revoked") throw new KeyEnded(id, state);
        return next;
      }),
    revoke: (id) => change(id, (present) => ({ ...present, revokedAt: present.revokedAt ?? isoOf(now()) })),
    async list() {
      const yielder = new Yielder();
      const dated: { readonly item: ListedKey; readonly createdAt: number }[] = [];
      for (const id of [...records.entries.keys()].reverse()) {
        // A key may be deleted while this yields.
        const item = get(id);
        if (item !== undefined) dated.push({ item, createdAt: Date.parse(item.createdAt) });
        if (yielder.isDue) await yielder.yield();
      }
      // Nearly sorted already, because the records are in the order of their creation.
      dated.sort((a, b) => b.createdAt - a.createdAt || (a.item.id < b.item.id ? -1 : 1));
      return dated.map(({ item }) => item);
    },
  };
}

function newRecord(wanted: NewKey, key: string, createdAt: string): StoredKey {
  const { name, permissions, expiresAt = null, rateLimit = null, allowIps = [], createdBy } = wanted;
  const { clientCert = null, budget = null, models = null } = wanted;
  return {
    name,
    permissions,
    expiresAt,
    rateLimit,
    allowIps,
    clientCert,
    budget,
    models,
    createdAt,
    createdBy,
    revokedAt: null,
    digests: [{ sha256: digestOf(key), validUntil: null }],
  };
}

/** Picks the fields by name: no other field may be changed, and an omitted or undefined one keeps its value. */
function changedParts(change: KeyChange): KeyChange {
  const { name, permissions, expiresAt, rateLimit, allowIps, clientCert, budget, models } = change;
  const parts = { name, permissions, expiresAt, rateLimit, allowIps, clientCert, budget, models };
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined));
}

/** The key that ended first, if it ended before this time. A key that issued others stays, because they share its limit. */
function longestEnded(
  ids: Iterable<string>,
  before: number,
  { records, family }: { readonly records: Records<StoredKey>; readonly family: KeyFamily },
): string | undefined {
  let oldest: string | undefined;
  let oldestEnd = before;
  for (const id of ids) {
    const value = records.entries.get(id)?.value;
    if (value === undefined) continue;
    if (value.revokedAt === null && value.expiresAt === null) continue;
    const endedAt = Math.min(msOf(value.revokedAt), msOf(value.expiresAt));
    if (endedAt > oldestEnd || family.hasIssued(id)) continue;
    oldestEnd = endedAt;
    oldest = id;
  }
  return oldest;
}

const isoOf = (ms: number) => new Date(ms).toISOString();
