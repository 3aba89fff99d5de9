/**
 * The issued keys by their digest, compiled and updated with the records: the next request sees a change.
 * Invariant: finding a key takes one Map access and allocates nothing; and the listeners learn of each digest that opens less than
 * before: at once after a change, within a second after it expired.
 */
import type { Records } from "../stores/records.ts";
import { compileAddresses } from "./allowed-addresses.ts";
import type { StoredDigest, StoredKey } from "./issued-key.ts";
import { compilePermissions, type Permissions, uncoveredBy } from "./permissions.ts";

/** Between two checks for expired keys, ms. */
const CHECK_INTERVAL_MS = 1_000;

export type KeyState = "active" | "expired" | "revoked";

/** One digest of a key; a rotated key has two. */
export interface FoundKey {
  /** The key's, and its caller's. */
  readonly id: string;
  readonly digest: string;
  readonly key: StoredKey;
  readonly permissions: Permissions;
  /** The state at the time of reading. The digest before a rotation expires after its grace period. */
  readonly state: KeyState;
  /** For a request or WebSocket in progress: whether its key has ended since, or may do less. */
  readonly isOver: boolean;
  allowsAddress(address: string): boolean;
  /** The client certificate that it needs; undefined for none. */
  readonly clientCert?: string | undefined;
  /** A JSON Web Token, of which the gateway keeps no record. */
  readonly isToken?: true;
  /** Of the id of a token's caller: its next token is not unknown to the lock-out. */
  readonly callerDigest?: string;
  /** When a WebSocket is closed, ms since the epoch; undefined where an EndListener learns of the end. */
  readonly closesAtMs?: number;
}

/** @param digest that ended, or may do less than before. Called once for each. */
export type EndListener = (id: string, digest: string) => void;

export interface KeyIndex {
  /** In any state. @param digest hex. */
  find(digest: string): FoundKey | undefined;
  /** The key's current digest. */
  findById(id: string): FoundKey | undefined;
  /** Keys with a permission for the plane, in any state: a plane does not open because its last key was revoked. */
  readonly counts: { readonly proxy: number; readonly manage: number };
  /** Returns a function that removes the listener. */
  onEnd(listener: EndListener): () => void;
  close(): void;
}

export interface KeyIndexOptions {
  readonly records: Records<StoredKey>;
  /** Ms since the epoch. */
  readonly now: () => number;
  readonly checkIntervalMs?: number;
}

/** What both digests of a key have in common. */
type SharedParts = Pick<FoundKey, "id" | "key" | "permissions" | "allowsAddress" | "clientCert">;

/** A class: object literals with getters each have their own hidden class, which makes every access to many of them slow. */
class IndexedDigest implements FoundKey {
  readonly id: string;
  readonly digest: string;
  readonly key: StoredKey;
  readonly permissions: Permissions;
  readonly allowsAddress: FoundKey["allowsAddress"];
  readonly clientCert: string | undefined;
  /** Shared with the entries of the same digest before changes that took nothing away. */
  tenure = { isOver: false };
  readonly #isRevoked: boolean;
  readonly #endsAt: number;
  readonly #now: () => number;

  constructor(
    { id, key, permissions, allowsAddress, clientCert }: SharedParts,
    digest: StoredDigest,
    now: () => number,
  ) {
    this.id = id;
    this.digest = digest.sha256;
    this.key = key;
    this.permissions = permissions;
    this.allowsAddress = allowsAddress;
    this.clientCert = clientCert;
    this.#isRevoked = key.revokedAt !== null;
    this.#endsAt = endOf(key, digest);
    this.#now = now;
  }

  get state(): KeyState {
    return this.stateAt(this.#now());
  }

  /** @param now read once for a walk over all keys. */
  stateAt(now: number): KeyState {
    if (this.#isRevoked) return "revoked";
    return now >= this.#endsAt ? "expired" : "active";
  }

  get isOver(): boolean {
    return this.tenure.isOver || this.state !== "active";
  }
}

/** A key with its digests, the current one first. */
interface IndexedKey {
  readonly key: StoredKey;
  readonly permissions: Permissions;
  readonly found: readonly IndexedDigest[];
}

export function createKeyIndex({ records, now, checkIntervalMs = CHECK_INTERVAL_MS }: KeyIndexOptions): KeyIndex {
  const byDigest = new Map<string, IndexedDigest>();
  const byId = new Map<string, IndexedKey>();
  /** Digests with an end that has not been reported yet. */
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

  function reportEnd({ id, digest, tenure }: IndexedDigest): void {
    tenure.isOver = true;
    for (const listener of listeners) listener(id, digest);
  }

  function update(id: string): void {
    const before = remove(id);
    const stored = records.entries.get(id)?.value;
    const after = stored && add(id, stored);
    const isNarrower = before !== undefined && after !== undefined && narrows(before, after);
    for (const found of before?.found ?? []) {
      // The end of an already ended digest was reported before.
      if (!open.delete(found)) continue;
      const next = byDigest.get(found.digest);
      if (isNarrower || next?.state !== "active") reportEnd(found);
      else next.tenure = found.tenure;
    }
  }

  for (const [id, { value }] of records.entries) add(id, value);
  const stop = records.watch(update);
  const timer = setInterval(() => {
    const at = now();
    for (const found of open) if (found.stateAt(at) !== "active" && open.delete(found)) reportEnd(found);
  }, checkIntervalMs);
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
  const clientCert = key.clientCert ?? undefined;
  const shared = { id, key, permissions, allowsAddress: compileAddresses(key.allowIps), clientCert };
  return { key, permissions, found: key.digests.map((digest) => new IndexedDigest(shared, digest, now)) };
}

/** Ms since the epoch. */
function endOf({ expiresAt }: StoredKey, { validUntil }: StoredDigest): number {
  return Math.min(msOf(expiresAt), msOf(validUntil));
}

/** Ms since the epoch; infinity for null. */
export function msOf(time: string | null): number {
  return time === null ? Number.POSITIVE_INFINITY : Date.parse(time);
}

/** True where the key may no longer do something that it may have been allowed to do. */
function narrows(before: IndexedKey, after: IndexedKey): boolean {
  const addresses = after.key.allowIps;
  if (addresses.length > 0 && addresses.join() !== before.key.allowIps.join()) return true;
  const { clientCert = null } = after.key;
  if (clientCert !== null && clientCert !== before.key.clientCert) return true;
  return uncoveredBy(after.permissions, before.key.permissions).length > 0;
}
