/**
 * The issued keys by their digest, compiled, in step with the records: a change is seen by the next request.
 * Invariant: finding a key takes one look and allocates nothing; and of each digest that opens no longer what it opened, the listeners
 * are told: at once for a change, within a second where its time ran out.
 */
import type { Records } from "../stores/records.ts";
import { compileAddresses } from "./allowed-addresses.ts";
import type { StoredDigest, StoredKey } from "./issued-key.ts";
import { compilePermissions, type Permissions, uncoveredBy } from "./permissions.ts";

/** Between two looks for what has expired, ms. */
const LOOK_INTERVAL_MS = 1_000;

export type KeyState = "active" | "expired" | "revoked";

/** One of a key's digests; of a key that was rotated there are two. */
export interface FoundKey {
  /** The key's, and its caller's. */
  readonly id: string;
  readonly digest: string;
  readonly key: StoredKey;
  readonly permissions: Permissions;
  /** As it is when it is read: it ends by itself. Of a key that was rotated the one before expires after its grace. */
  readonly state: KeyState;
  /** For whoever was admitted by it and holds on to it: whether it ended since, or may do less. */
  readonly isOver: boolean;
  allowsAddress(address: string): boolean;
}

/** @param digest that ended, or may do less than before; told once for each. */
export type EndListener = (id: string, digest: string) => void;

export interface KeyIndex {
  /** Whatever its state. @param digest hex. */
  find(digest: string): FoundKey | undefined;
  /** The key's present digest. */
  findById(id: string): FoundKey | undefined;
  /** Keys with a permission for the plane, in whatever state: a plane does not open because its last key was revoked. */
  readonly counts: { readonly proxy: number; readonly manage: number };
  /** Returns the way to stop. */
  onEnd(listener: EndListener): () => void;
  close(): void;
}

export interface KeyIndexOptions {
  readonly records: Records<StoredKey>;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly lookIntervalMs?: number;
}

/** What is the same for both digests of a key. */
type Shared = Pick<FoundKey, "id" | "key" | "permissions" | "allowsAddress">;

/** A class, because of objects with getters of their own each has a shape of its own: of ten thousand every look would be slow. */
class IndexedDigest implements FoundKey {
  readonly id: string;
  readonly digest: string;
  readonly key: StoredKey;
  readonly permissions: Permissions;
  readonly allowsAddress: FoundKey["allowsAddress"];
  /** Shared with what the same digest was found as before a change that took nothing away. */
  tenure = { isOver: false };
  readonly #isRevoked: boolean;
  readonly #endsAt: number;
  readonly #now: () => number;

  constructor({ id, key, permissions, allowsAddress }: Shared, digest: StoredDigest, now: () => number) {
    this.id = id;
    this.digest = digest.sha256;
    this.key = key;
    this.permissions = permissions;
    this.allowsAddress = allowsAddress;
    this.#isRevoked = key.revokedAt !== null;
    this.#endsAt = endOf(key, digest);
    this.#now = now;
  }

  get state(): KeyState {
    if (this.#isRevoked) return "revoked";
    return this.#now() >= this.#endsAt ? "expired" : "active";
  }

  get isOver(): boolean {
    return this.tenure.isOver || this.state !== "active";
  }
}

/** A key with its digests, the present one first. */
interface IndexedKey {
  readonly key: StoredKey;
  readonly permissions: Permissions;
  readonly found: readonly IndexedDigest[];
}

export function createKeyIndex({ records, now, lookIntervalMs = LOOK_INTERVAL_MS }: KeyIndexOptions): KeyIndex {
  const byDigest = new Map<string, IndexedDigest>();
  const byId = new Map<string, IndexedKey>();
  /** Whose end has not been told. */
  const open = new Set<IndexedDigest>();
  const listeners = new Set<EndListener>();
  const counts = { proxy: 0, manage: 0 };

  function add(id: string, key: StoredKey): IndexedKey {
    const indexed = index(id, key, now);
    byId.set(id, indexed);
    for (const found of indexed.found) {
      byDigest.set(found.digest, found);
      if (found.state === "active") open.add(found);
    }
    if (indexed.permissions.hasProxy) counts.proxy += 1;
    if (indexed.permissions.hasManage) counts.manage += 1;
    return indexed;
  }

  function remove(id: string): IndexedKey | undefined {
    const indexed = byId.get(id);
    if (indexed === undefined) return undefined;
    byId.delete(id);
    for (const { digest } of indexed.found) byDigest.delete(digest);
    if (indexed.permissions.hasProxy) counts.proxy -= 1;
    if (indexed.permissions.hasManage) counts.manage -= 1;
    return indexed;
  }

  function tell({ id, digest, tenure }: IndexedDigest): void {
    tenure.isOver = true;
    for (const listener of listeners) listener(id, digest);
  }

  function follow(id: string): void {
    const before = remove(id);
    const stored = records.entries.get(id)?.value;
    const after = stored && add(id, stored);
    const isNarrower = before !== undefined && after !== undefined && narrows(before, after);
    for (const found of before?.found ?? []) {
      // What had ended before was told before.
      if (!open.delete(found)) continue;
      const next = byDigest.get(found.digest);
      if (isNarrower || next?.state !== "active") tell(found);
      else next.tenure = found.tenure;
    }
  }

  for (const [id, { value }] of records.entries) add(id, value);
  const stop = records.watch(follow);
  const timer = setInterval(() => {
    for (const found of open) if (found.state !== "active" && open.delete(found)) tell(found);
  }, lookIntervalMs);
  timer.unref();

  return {
    find: (digest) => byDigest.get(digest),
    findById: (id) => byId.get(id)?.found[0],
    counts,
    onEnd(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      clearInterval(timer);
      stop();
    },
  };
}

function index(id: string, key: StoredKey, now: () => number): IndexedKey {
  const permissions = compilePermissions(key.permissions);
  const shared = { id, key, permissions, allowsAddress: compileAddresses(key.allowIps) };
  return { key, permissions, found: key.digests.map((digest) => new IndexedDigest(shared, digest, now)) };
}

/** Ms since the epoch. */
function endOf({ expiresAt }: StoredKey, { validUntil }: StoredDigest): number {
  return Math.min(msOf(expiresAt), msOf(validUntil));
}

function msOf(time: string | null): number {
  return time === null ? Number.POSITIVE_INFINITY : Date.parse(time);
}

/** True where something may have been allowed that no longer is. */
function narrows(before: IndexedKey, after: IndexedKey): boolean {
  const addresses = after.key.allowIps;
  if (addresses.length > 0 && addresses.join() !== before.key.allowIps.join()) return true;
  return uncoveredBy(after.permissions, before.key.permissions).length > 0;
}
