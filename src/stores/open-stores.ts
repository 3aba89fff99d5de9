/** The stores of one gateway: in its DATA_DIR, or in memory. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { createKeyUsage, type KeyUsage, openKeyUsage } from "../callers/key-usage.ts";
import { openFileLedger } from "./file-ledger.ts";
import { lookAtFileRecords, openFileRecords, peekFileRecords } from "./file-records.ts";
import { createFingerprint, type Fingerprint, lookAtFingerprint, openFingerprint } from "./installation-key.ts";
import { createMemoryJournal, type Journal, openFileJournal } from "./journal.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createRecords, type Records } from "./records.ts";

/** @typeParam S a stored service. @typeParam A an entry of the audit. @typeParam K a stored key. */
export interface Stores<S, A, K> {
  readonly services: Records<S>;
  /** Issued keys. */
  readonly keys: Records<K>;
  readonly keyUsage: KeyUsage;
  readonly audit: Journal<A>;
  /** What upstreams still allow. */
  readonly quota: Ledger;
  readonly fingerprint: Fingerprint;
  /** Undefined for stores in memory. */
  readonly folder: string | undefined;
  /** Told when what is written every now and then could not be: nobody waits for that. One listener. */
  onWriteFailure: (error: unknown) => void;
  /** Finishes what is being written. */
  close(): Promise<void>;
}

const FILES = ["services.json", "keys.json", "usage.json", "audit.jsonl", "quota.json", "installation-key"] as const;

/** @throws StateFileUnusable, or what node:fs raised when DATA_DIR takes no writes. */
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
  const audit = openFileJournal<A>(at("audit.jsonl"));
  const quota = openFileLedger({ path: at("quota.json"), onFailure });
  const fingerprint = await openFingerprint(at("installation-key"));
  const stores = withClose({ services, keys, keyUsage, audit, quota, fingerprint, folder });
  return stores;
}

/** What keys there were at the last change, for who only looks and does not hold the folder. @throws StateFileUnusable */
export function peekStoredKeys<K>(folder: string, isKey: (value: unknown) => value is K): K[] {
  return [...peekFileRecords(join(folder, "keys.json"), isKey)];
}

/**
 * What there was at the last change, in memory: for who looks without the lock, beside whoever holds it. Nothing is written, and what
 * only a running gateway knows is not there. @throws StateFileUnusable
 */
export function lookAtFileStores<S, A, K>(
  folder: string,
  isService: (value: unknown) => value is S,
  isKey: (value: unknown) => value is K,
): Stores<S, A, K> {
  const at = (name: (typeof FILES)[number]) => join(folder, name);
  return withClose({
    services: lookAtFileRecords(at("services.json"), isService),
    keys: lookAtFileRecords(at("keys.json"), isKey),
    ...{ keyUsage: createKeyUsage(), audit: createMemoryJournal<A>(), quota: createLedger() },
    ...{ fingerprint: lookAtFingerprint(at("installation-key")), folder },
  });
}

/** A copy that was put back may have come with other rights; what cannot be changed is another user's, and shows when it is read. */
function keepPrivate(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // Not there yet, or not ours.
  }
}

export function createMemoryStores<S, A, K>(): Stores<S, A, K> {
  return withClose({
    services: createRecords<S>(),
    keys: createRecords<K>(),
    keyUsage: createKeyUsage(),
    audit: createMemoryJournal<A>(),
    quota: createLedger(),
    fingerprint: createFingerprint(),
    folder: undefined,
  });
}

function withClose<S, A, K>(parts: Omit<Stores<S, A, K>, "close" | "onWriteFailure">): Stores<S, A, K> {
  const stores: Stores<S, A, K> = {
    ...parts,
    onWriteFailure: () => {},
    async close() {
      // What a crash may take is worth no failure at the end.
      const bearable = (error: unknown) => stores.onWriteFailure(error);
      const lesser = [parts.quota.close().catch(bearable), parts.keyUsage.close().catch(bearable)];
      await Promise.all([parts.services.close(), parts.keys.close(), parts.audit.close(), ...lesser]);
    },
  };
  return stores;
}
