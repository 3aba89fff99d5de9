/**
 * One command at a time changes a file: two that read it at once would undo each other's changes.
 * Invariant: the lock is a file beside it, which only one command can create. One that a killed command left is removed when it is older
 * than any change takes.
 */
import { rmSync, statSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { writeNewFile } from "./output.ts";

const RETRY_MS = 20;
const LONGEST_CHANGE_MS = 10_000;

/** @param path of the file, without symbolic links. @throws CliFailure where no file can be created beside it, and as `change` does. */
export async function withFileLock<T>(path: string, change: () => Promise<T>): Promise<T> {
  const lock = `${path}.lock`;
  while (!writeNewFile(lock, `${process.pid}\n`, 0o600)) {
    if (isLeftOver(lock)) rmSync(lock, { force: true });
    else await delay(RETRY_MS);
  }
  try {
    return await change();
  } finally {
    rmSync(lock, { force: true });
  }
}

function isLeftOver(lock: string): boolean {
  const found = statSync(lock, { throwIfNoEntry: false });
  // Also where the clock of the system was set back.
  return found !== undefined && Math.abs(Date.now() - found.mtimeMs) > LONGEST_CHANGE_MS;
}
