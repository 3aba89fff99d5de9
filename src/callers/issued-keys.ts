/**
 * The keys that operators issue: made, changed, rotated, revoked and listed.
 * Invariant: a key is shown once, by what made it; what is stored and listed holds no part of it; and the number kept is bounded.
 *
 * Decided here: a revoked key stays revoked and takes no change; the key before a rotation is known until the next one, so that
 * whoever still presents it is told that it expired and is not taken for one who guesses.
 */
import { ABSENT, type Records, VersionConflict } from "../stores/records.ts";
import { createIssuedKey, createKeyId, digestOf, type StoredKey } from "./issued-key.ts";
import { createKeyIndex, type KeyIndex, type KeyState } from "./key-index.ts";
import type { KeyUsage } from "./key-usage.ts";

/** Keys kept, in whatever state. */
const KEYS_LIMIT = 10_000;
/** After it a key that was revoked or expired makes room for another, ms. */
const ENDED_KEPT_MS = 30 * 24 * 3_600_000;

export interface IssuedKeys extends KeyIndex {
  /** @throws KeyLimitReached, or the store's failure: then there is no such key. */
  create(wanted: NewKey, approve?: Approve): Promise<Issued>;
  /** What is left out stays. Undefined where there is no such key. @throws KeyEnded for one that was revoked. */
  update(id: string, change: KeyChange, approve?: Approve): Promise<ListedKey | undefined>;
  /** Revoking twice changes nothing. */
  revoke(id: string): Promise<ListedKey | undefined>;
  /** @param graceSeconds for which the key before still works. @throws KeyEnded */
  rotate(id: string, graceSeconds: number, approve?: Approve): Promise<Issued | undefined>;
  get(id: string): ListedKey | undefined;
  /** Newest first. */
  list(): readonly ListedKey[];
}

/** Throws where the key as it would be is not to be; `present` is what it is in the place of. Nothing comes between it and the change. */
export type Approve = (next: StoredKey, present: StoredKey) => void;

/** Permissions and addresses by their grammars: whoever asks has been told of what is wrong with them. */
export type KeyChange = Partial<Pick<StoredKey, "name" | "permissions" | "expiresAt" | "rateLimit" | "allowIps">>;

export type NewKey = KeyChange & Pick<StoredKey, "name" | "permissions" | "createdBy">;

/** As operators see it. */
export interface ListedKey extends Omit<StoredKey, "digests"> {
  readonly id: string;
  readonly state: KeyState;
  /** Until when the key before the last rotation works; null when it does not. */
  readonly graceUntil: string | null;
  readonly uses: number;
  readonly lastUsedAt: string | null;
}

export interface Issued {
  /** Shown this once. */
  readonly key: string;
  readonly item: ListedKey;
}

/** Every key that is kept is of use, or ended a short time ago. */
export class KeyLimitReached extends Error {
  constructor(limit: number) {
    super(`there are ${limit} keys; one that was revoked or expired makes room after 30 days`);
  }
}

/** What is over stays over. */
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
  /** Told of each key that made room for another. */
  readonly onForgotten?: (id: string) => void;
  readonly limit?: number;
  readonly lookIntervalMs?: number;
}

const ANY: Approve = () => {};

export function createIssuedKeys(options: IssuedKeysOptions): IssuedKeys {
  const { records, usage, now = Date.now, limit = KEYS_LIMIT, onForgotten = () => {} } = options;
  const index = createKeyIndex({ ...options, now });
  let creating = 0;
  const isKept = (id: string) => records.entries.has(id);
  // A crash may have come between a deletion and what it entails.
  usage.keepOnly(isKept);

  async function makeRoom(): Promise<void> {
    while (records.entries.size + creating > limit) {
      const oldest = longestEnded(records, now() - ENDED_KEPT_MS);
      if (oldest === undefined) throw new KeyLimitReached(limit);
      await records.delete(oldest);
      usage.keepOnly(isKept);
      onForgotten(oldest);
    }
  }

  /** Makes the change of what is there, however many make theirs at the same time. */
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
      ...{ id, ...key, state: found.state },
      graceUntil: before?.state === "active" ? (digests[1]?.validUntil ?? null) : null,
      uses: used?.uses ?? 0,
      lastUsedAt: used === undefined ? null : isoOf(used.lastUsedAt),
    };
  }

  async function create(wanted: NewKey, approve: Approve = ANY): Promise<Issued> {
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

  async function rotate(id: string, graceSeconds: number, approve: Approve = ANY): Promise<Issued | undefined> {
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
    ...{ create, rotate, get },
    update: (id, wanted, approve = ANY) =>
      change(id, (present, state) => {
        const next = { ...present, ...changedParts(wanted) };
        approve(next, present);
        if (state === "revoked") throw new KeyEnded(id, state);
        return next;
      }),
    revoke: (id) => change(id, (present) => ({ ...present, revokedAt: present.revokedAt ?? isoOf(now()) })),
    list: () =>
      [...records.entries.keys()]
        .flatMap((id) => get(id) ?? [])
        .map((item) => ({ item, createdAt: Date.parse(item.createdAt) }))
        .sort((a, b) => b.createdAt - a.createdAt || (a.item.id < b.item.id ? -1 : 1))
        .map(({ item }) => item),
  };
}

function newRecord(wanted: NewKey, key: string, createdAt: string): StoredKey {
  const { name, permissions, expiresAt = null, rateLimit = null, allowIps = [], createdBy } = wanted;
  return {
    ...{ name, permissions, expiresAt, rateLimit, allowIps, createdAt, createdBy, revokedAt: null },
    digests: [{ sha256: digestOf(key), validUntil: null }],
  };
}

/** By name: nothing else may be changed, and what is left out, or undefined, stays. */
function changedParts({ name, permissions, expiresAt, rateLimit, allowIps }: KeyChange): KeyChange {
  const parts = { name, permissions, expiresAt, rateLimit, allowIps };
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined));
}

/** The key that was over first, if that was before this time. */
function longestEnded({ entries }: Records<StoredKey>, before: number): string | undefined {
  let oldest: string | undefined;
  let oldestEnd = before;
  for (const [id, { value }] of entries) {
    const ends = [value.revokedAt, value.expiresAt].flatMap((time) => (time === null ? [] : [Date.parse(time)]));
    const endedAt = Math.min(...ends);
    if (endedAt > oldestEnd) continue;
    oldestEnd = endedAt;
    oldest = id;
  }
  return oldest;
}

const isoOf = (ms: number) => new Date(ms).toISOString();
