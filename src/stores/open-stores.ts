/** The stores of one gateway: in its DATA_DIR, or in memory. */
import { chmodSync } from "node:fs";
import { join } from "node:path";
import { openFileRecords } from "./file-records.ts";
import { createFingerprint, type Fingerprint, openFingerprint } from "./installation-key.ts";
import { createMemoryJournal, type Journal, openFileJournal } from "./journal.ts";
import { createRecords, type Records } from "./records.ts";

/** @typeParam S a stored service. @typeParam A an entry of the audit. */
export interface Stores<S, A> {
  readonly services: Records<S>;
  readonly audit: Journal<A>;
  readonly fingerprint: Fingerprint;
  /** Undefined for stores in memory. */
  readonly folder: string | undefined;
  /** Finishes what is being written. */
  close(): Promise<void>;
}

/** @throws StateFileUnusable, or what node:fs raised when DATA_DIR takes no writes. */
export async function openFileStores<S, A>(
  folder: string,
  isService: (value: unknown) => value is S,
): Promise<Stores<S, A>> {
  for (const name of ["services.json", "audit.jsonl", "installation-key"]) keepPrivate(join(folder, name));
  const services = openFileRecords(join(folder, "services.json"), isService);
  const audit = openFileJournal<A>(join(folder, "audit.jsonl"));
  return withClose({ services, audit, fingerprint: await openFingerprint(join(folder, "installation-key")), folder });
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
    fingerprint: createFingerprint(),
    folder: undefined,
  });
}

function withClose<S, A>(stores: Omit<Stores<S, A>, "close">): Stores<S, A> {
  return {
    ...stores,
    async close() {
      await Promise.all([stores.services.close(), stores.audit.close()]);
    },
  };
}
