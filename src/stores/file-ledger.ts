/** The ledger with a memory that outlives the process: an exhausted quota stays exhausted over a restart. */

import { isObject } from "../is-object.ts";
import { type Account, createLedger, type Ledger, type MemoryLedger } from "./ledger.ts";
import { openPeriodicFile } from "./periodic-file.ts";
import { readState } from "./state-file.ts";

/** Between two writes, ms. */
const SAVE_INTERVAL_MS = 1_000;

export interface FileLedgerOptions {
  readonly path: string;
  /** Told when the file could not be written. */
  readonly onFailure: (error: unknown) => void;
  readonly saveIntervalMs?: number;
}

/** @throws StateFileUnusable */
export function openFileLedger({ path, onFailure, saveIntervalMs = SAVE_INTERVAL_MS }: FileLedgerOptions): Ledger {
  const initial = readState(path, isAccount)?.entries ?? [];
  const file = openPeriodicFile<Account>({
    ...{ path, intervalMs: saveIntervalMs, onFailure },
    entries: () => ledger.accounts(),
  });
  const ledger: MemoryLedger = createLedger({ initial, onChange: file.touch, close: file.close });
  return ledger;
}

function isAccount(value: unknown): value is Account {
  return isObject(value) && [value.limit, value.remaining, value.resetsAt].every(Number.isFinite);
}
