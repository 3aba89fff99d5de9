/**
 * A journal: entries in order, never changed, bounded in number: the oldest entries are dropped.
 * Invariant: an appended entry is on the disk; a line that a crash cut short is dropped when the file is read.
 */
import { copyFileSync, readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { replaceFile } from "./state-file.ts";

export interface Journal<T> {
  /** @throws node:fs's error. */
  append(entry: T): Promise<void>;
  /** Unreadable lines when it was opened, without a line that a crash cut short. If there are any, a copy of the file was made. */
  readonly damagedLines: number;
  /** Newest first. */
  newest(limit: number): readonly T[];
  close(): Promise<void>;
}

/** Entries kept. */
export const JOURNAL_LIMIT = 1_000;

export function createMemoryJournal<T>(limit = JOURNAL_LIMIT): Journal<T> {
  const entries: T[] = [];
  return {
    damagedLines: 0,
    async append(entry) {
      entries.push(entry);
      if (entries.length > limit) entries.shift();
    },
    newest: (count) => entries.slice(-count).reverse(),
    async close() {},
  };
}

/** @throws node:fs's error when the file exists and cannot be read. */
export function openFileJournal<T>(path: string, limit = JOURNAL_LIMIT): Journal<T> {
  const memory = createMemoryJournal<T>(limit);
  const kept = readLines<T>(path);
  for (const entry of kept.entries.slice(-limit)) void memory.append(entry);
  if (kept.damagedLines > 0) copyFileSync(path, `${path}.damaged`);
  // An incomplete line must not become the beginning of the next one: this forces a rewrite of the file.
  let linesInFile = kept.isTorn ? Number.POSITIVE_INFINITY : kept.entries.length;
  let appending: Promise<void> = Promise.resolve();

  async function append(entry: T): Promise<void> {
    if (linesInFile >= 2 * limit) {
      const kept = memory.newest(limit - 1).toReversed();
      await replaceFile(path, kept.map(lineOf));
      linesInFile = kept.length;
    }
    await writeAtEnd(path, lineOf(entry));
    linesInFile += 1;
    await memory.append(entry);
  }

  return {
    append(entry) {
      const appended = appending.then(() => append(entry));
      appending = appended.catch(() => {});
      return appended;
    },
    damagedLines: kept.damagedLines,
    newest: memory.newest,
    close: () => appending,
  };
}

const lineOf = (entry: unknown) => `${JSON.stringify(entry)}\n`;

/**
 * Appends whole lines. @param isSynced they are on the disk when it resolves. @returns the size of the file.
 * @throws node:fs's error; the file is then as before, as far as the disk allows.
 */
export async function writeAtEnd(path: string, lines: string, isSynced = true): Promise<number> {
  const file = await open(path, "a", 0o600);
  try {
    const { size } = await file.stat();
    try {
      await file.writeFile(lines);
      if (isSynced) await file.datasync();
      return size + Buffer.byteLength(lines);
    } catch (error) {
      // Half a line at the end would corrupt the next.
      await file.truncate(size).catch(() => {});
      throw error;
    }
  } finally {
    await file.close();
  }
}

function readLines<T>(path: string) {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return { entries: [], isTorn: false, damagedLines: 0 };
    throw error;
  }
  const lines = text.split("\n");
  const isTorn = lines.pop() !== "";
  const entries: T[] = lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as T];
    } catch {
      return [];
    }
  });
  return { entries, isTorn, damagedLines: lines.length - entries.length };
}
