/**
 * Replaces a file as a whole: what is written goes to a file beside it, to the disk, and only then takes its name.
 * Invariant: under the name there is always the old text or the new one, never a part, whenever the process or the machine ends.
 * Own code because the library for it takes a write(2) that was cut short by a full disk for a whole one (decision 0009).
 */
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** The new text is there, but may be gone when the machine loses power. */
export class NotDurable extends Error {}

/**
 * One process a folder and one writer at a time, so the name beside it needs no chance in it and a crash leaves at most one.
 * @throws NotDurable, or what node:fs raised (ENOSPC, EIO, EROFS …): then the old text stands.
 */
export async function replaceFile(path: string, chunks: Iterable<string>): Promise<void> {
  const beside = `${path}.tmp`;
  try {
    await writeNew(beside, chunks);
    await rename(beside, path);
  } catch (error) {
    await rm(beside, { force: true }).catch(() => {});
    throw error;
  }
  try {
    await syncFolder(dirname(path));
  } catch (cause) {
    throw new NotDurable(path, { cause });
  }
}

async function writeNew(path: string, chunks: Iterable<string>): Promise<void> {
  await rm(path, { force: true });
  const file = await open(path, "wx", 0o600);
  try {
    // Goes on after a write(2) that took only a part, until the disk says why.
    for (const chunk of chunks) await file.appendFile(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename is on the disk when its folder is (fsync(2)). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
