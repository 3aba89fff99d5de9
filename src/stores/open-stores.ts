/** The stores of one gateway: in its DATA_DIR, or in memory. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { openFileLedger } from "./file-ledger.ts";
import { openFileRecords } from "./file-records.ts";
import { createFingerprint, type Fingerprint, openFingerprint } from "./installation-key.ts";
import { createMemoryJournal, type Journal, openFileJournal } from "./journal.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createRecords, type Records } from "./records.ts";

/** @typeParam S a stored service. @typeParam A an entry of the audit. */
export interface Stores<S, A> {
  readonly services: Records<S>;
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

/** @throws StateFileUnusable, or what node:fs raised when DATA_DIR takes no writes. */
export async function openFileStores<S, A>(
  folder: string,
  isService: (value: unknown) => value is S,
): Promise<Stores<S, A>> {
  for (const name of ["services.json", "audit.jsonl", "quota.json", "installation-key"])
    keepPrivate(join(folder, name));
  const services = openFileRecords(join(folder, "services.json"), isService);
  const audit = openFileJournal<A>(join(folder, "audit.jsonl"));
  const path = join(folder, "quota.json");
  const quota = openFileLedger({ path, onFailure: (error) => stores.onWriteFailure(error) });
  const fingerprint = await openFingerprint(join(folder, "installation-key"));
  const stores = withClose({ services, audit, quota, fingerprint, folder });
  return stores;
}

/** A copy that was put back may have come with other rights; what cannot be changed is another user's, and shows when it is read. */
function keepPrivate(path: string): void {
  try {
    chmodSync(path, 0o600);
  } catch {
    // Not there yet, or not ours.
  }
}

export function createMemoryStores<S, A>(): Stores<S, A> {
  return withClose({
    services: createRecords<S>(),
    audit: createMemoryJournal<A>(),
    quota: createLedger(),
    fingerprint: createFingerprint(),
    folder: undefined,
  });
}

function withClose<S, A>(parts: Omit<Stores<S, A>, "close" | "onWriteFailure">): Stores<S, A> {
  const stores: Stores<S, A> = {
    ...parts,
    onWriteFailure: () => {},
    async close() {
      // What a crash may take is worth no failure at the end.
      const quota = parts.quota.close().catch((error: unknown) => stores.onWriteFailure(error));
      await Promise.all([parts.services.close(), parts.audit.close(), quota]);
    },
  };
  return stores;
}
