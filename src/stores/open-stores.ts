/** The stores of one gateway, in its DATA_DIR or in memory. Invariant: the files are readable by their owner only. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { createKeyUsage, type KeyUsage, openKeyUsage } from "../callers/key-usage.ts";
import { type Claims, createClaims } from "./claims.ts";
import { openFileClaims } from "./claims-file.ts";
import {
  type CredentialUses,
  createCredentialUses,
  openCredentialUses,
  readCredentialUses,
} from "./credential-uses.ts";
import { createFingerprint, type Fingerprint, openFingerprint, readFingerprint } from "./installation-key.ts";
import { createMemoryJournal, type Journal, openFileJournal } from "./journal.ts";
import { createLedger, type Ledger, openFileLedger } from "./ledger.ts";
import { createRecords, openFileRecords, type Records, readFileRecords } from "./records.ts";
import { isStoredPromotion, type StoredPromotion } from "./stored-promotion.ts";
import { isStoredRefreshToken, type StoredRefreshToken } from "./stored-refresh-token.ts";
import { createTallies, openFileTallies, type Tallies } from "./tallies.ts";

/** @typeParam S a stored service. @typeParam A an audit entry. @typeParam K a stored key. */
export interface Stores<S, A, K> {
  readonly services: Records<S>;
  /** Issued keys. */
  readonly keys: Records<K>;
  readonly keyUsage: KeyUsage;
  /** Refresh tokens that token endpoints issued. */
  readonly credentials: Records<StoredRefreshToken>;
  /** The secrets that rotations have changed services to, by the key of the service. */
  readonly promotions: Records<StoredPromotion>;
  /** When credentials were used, and when they end. */
  readonly credentialUses: CredentialUses;
  readonly audit: Journal<A>;
  /** The requests that upstreams still allow. */
  readonly quota: Ledger;
  /** Of requests with an Idempotency-Key. */
  readonly claims: Claims;
  /** Unreadable lines of the claims when they were opened. */
  readonly damagedClaims: number;
  /** Tokens that were spent. */
  readonly tallies: Tallies;
  readonly fingerprint: Fingerprint;
  /** Undefined for stores in memory. */
  readonly folder: string | undefined;
  /** Called when a periodic write fails, which no request waits for. One listener. */
  onWriteFailure: (error: unknown) => void;
  /** Waits for pending writes. */
  close(): Promise<void>;
}

/** Their names in DATA_DIR. */
export const FILES = [
  "services.json",
  "keys.json",
  "usage.json",
  "credentials.json",
  "rotations.json",
  "credential-uses.json",
  "audit.jsonl",
  "quota.json",
  "claims.jsonl",
  "tokens.json",
  "installation-key",
] as const;

/** @throws StateFileUnusable, or node:fs's error when DATA_DIR is not writable. */
export async function openFileStores<S, A, K>(
  folder: string,
  isService: (value: unknown) => value is S,
  isKey: (value: unknown) => value is K,
): Promise<Stores<S, A, K>> {
  const at = (name: (typeof FILES)[number]) => join(folder, name);
  for (const name of FILES) keepPrivate(at(name));
  const onFailure = (error: unknown) => stores.onWriteFailure(error);
  const services = openFileRecords(at("services.json"), isService);
  const keys = openFileRecords(at("keys.json"), isKey);
  const keyUsage = openKeyUsage({ path: at("usage.json"), onFailure });
  const credentials = openFileRecords(at("credentials.json"), isStoredRefreshToken);
  const promotions = openFileRecords(at("rotations.json"), isStoredPromotion);
  const credentialUses = openCredentialUses(at("credential-uses.json"), onFailure);
  const audit = openFileJournal<A>(at("audit.jsonl"));
  const quota = openFileLedger({ path: at("quota.json"), onFailure });
  const claims = openFileClaims({ path: at("claims.jsonl"), now: Date.now(), onFailure });
  const tallies = openFileTallies({ path: at("tokens.json"), onFailure });
  const fingerprint = await openFingerprint(at("installation-key"));
  const { damagedLines: damagedClaims } = claims;
  const periodic = { keyUsage, credentialUses, quota, tallies };
  const stores = withClose({
    ...periodic,
    services,
    keys,
    credentials,
    promotions,
    audit,
    claims,
    damagedClaims,
    fingerprint,
    folder,
  });
  return stores;
}

/** The issued keys as of the last change, for a process without the lock. @throws StateFileUnusable */
export function readStoredKeys<K>(folder: string, isKey: (value: unknown) => value is K): K[] {
  return [...readFileRecords(join(folder, "keys.json"), isKey).entries.values()].map(({ value }) => value);
}

/**
 * A copy of the stores as of the last change, for a process without the lock. Nothing is written, and usage, audit, quota,
 * claims and tallies, which a running gateway may not have written yet, are empty. @throws StateFileUnusable
 */
export function readFileStores<S, A, K>(
  folder: string,
  isService: (value: unknown) => value is S,
  isKey: (value: unknown) => value is K,
): Stores<S, A, K> {
  const at = (name: (typeof FILES)[number]) => join(folder, name);
  return withClose({
    services: readFileRecords(at("services.json"), isService),
    keys: readFileRecords(at("keys.json"), isKey),
    keyUsage: createKeyUsage(),
    credentials: readFileRecords(at("credentials.json"), isStoredRefreshToken),
    credentialUses: readCredentialUses(at("credential-uses.json")),
    promotions: readFileRecords(at("rotations.json"), isStoredPromotion),
    audit: createMemoryJournal<A>(),
    quota: createLedger(),
    claims: createClaims(),
    damagedClaims: 0,
    tallies: createTallies(),
    fingerprint: readFingerprint(at("installation-key")),
    folder,
  });
}

/** A restored copy may have other permissions. When they cannot be changed, the file is another user's: reading it will show that. */
function keepPrivate(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // The file does not exist yet, or belongs to another user.
  }
}

export function createMemoryStores<S, A, K>(): Stores<S, A, K> {
  return withClose({
    services: createRecords<S>(),
    keys: createRecords<K>(),
    keyUsage: createKeyUsage(),
    credentials: createRecords<StoredRefreshToken>(),
    credentialUses: createCredentialUses(),
    promotions: createRecords<StoredPromotion>(),
    audit: createMemoryJournal<A>(),
    quota: createLedger(),
    claims: createClaims(),
    damagedClaims: 0,
    tallies: createTallies(),
    fingerprint: createFingerprint(),
    folder: undefined,
  });
}

function withClose<S, A, K>(parts: Omit<Stores<S, A, K>, "close" | "onWriteFailure">): Stores<S, A, K> {
  const stores: Stores<S, A, K> = {
    ...parts,
    onWriteFailure: () => {},
    async close() {
      // A crash may lose this state too, so that its loss does not fail the shutdown.
      const report = (error: unknown) => stores.onWriteFailure(error);
      const periodic = [parts.quota, parts.tallies, parts.keyUsage, parts.credentialUses].map((store) =>
        store.close().catch(report),
      );
      const { services, keys, credentials, promotions, audit, claims } = parts;
      const written = [services, keys, credentials, promotions, audit, claims].map((store) => store.close());
      await Promise.all([...written, ...periodic]);
    },
  };
  return stores;
}
