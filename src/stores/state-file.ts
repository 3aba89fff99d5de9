/**
 * Files of run-time state, replaced as a whole: one at a time (`replaceFile`), as a map of JSON entries (`readState`,
 * `replaceState`), or at intervals for state that changes with every request (`openPeriodicFile`).
 * Invariant: a file always holds the state before or after a change, never a part of one, whenever the process or the machine
 * ends; and a file that cannot be read stops the start: it never counts as empty.
 */
import { lstatSync, readFileSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { isObject } from "../is-object.ts";

/** Version of the file's format; a gateway that knows only older ones refuses to use the file. */
const FORMAT = 1;

/** Text written at once. The event loop runs between two writes, so this bounds how long a save blocks it. */
const CHUNK_CHARACTERS = 32 * 1024;

/** A file that takes long to write is written less often: the pause is at least this many times the write. */
const PAUSES_PER_WRITE = 20;

/** A state file exists and cannot be used. The message says what to do. */
export class StateFileUnusable extends Error {
  constructor(path: string, reason: string) {
    super(`${path} cannot be used: ${reason}; put back a copy of it, or move it away to start without its contents.`);
  }
}

export interface State<T> {
  /** Counts all changes ever made. */
  readonly revision: number;
  readonly entries: Iterable<readonly [key: string, value: T]>;
}

/** Undefined where there is no such file. @throws StateFileUnusable */
export function readState<T>(path: string, isEntry: (value: unknown) => value is T): State<T> | undefined {
  const text = readIfPresent(path);
  if (text === undefined) return undefined;
  const unusable = (reason: string) => new StateFileUnusable(path, reason);
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    throw unusable(text === "" ? "it is empty" : "it is not JSON, or only a part of it");
  }
  if (!isObject(state)) throw unusable("it is not the gateway's");
  if (state.format !== FORMAT) {
    const isNewer = typeof state.format === "number" && state.format > FORMAT;
    throw unusable(isNewer ? "a newer version of the gateway wrote it" : "it is not the gateway's");
  }
  const { revision, entries } = state;
  if (!Number.isSafeInteger(revision) || !isObject(entries)) throw unusable("a part of it is missing");
  const found = Object.entries(entries);
  const malformed = found.find(([, value]) => !isEntry(value));
  if (malformed !== undefined) throw unusable(`the entry ${JSON.stringify(malformed[0])} is malformed`);
  return { revision: revision as number, entries: found as [string, T][] };
}

/**
 * Resolves once the new state is on the disk. When that fails, the file holds the state before, as far as the disk allows.
 * @param before what the file holds now. @throws node:fs's error: ENOSPC, EIO, EROFS …
 */
export async function replaceState<T>(path: string, next: State<T>, before: State<T>): Promise<void> {
  try {
    await replaceFile(path, chunksOf(next));
  } catch (error) {
    if (!(error instanceof NotDurable)) throw error;
    // The client learns that the change failed, so the change must not be there after the next start.
    await replaceFile(path, chunksOf(before)).catch(() => {});
    throw error.cause;
  }
}

/** One entry a line, so that people can read and compare the file too. */
function* chunksOf<T>({ revision, entries }: State<T>): Generator<string> {
  let chunk = `{"format":${FORMAT},"revision":${revision},"entries":{`;
  let separator = "\n";
  for (const [key, value] of entries) {
    chunk += `${separator}${JSON.stringify(key)}:${JSON.stringify(value)}`;
    separator = ",\n";
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield chunk;
    chunk = "";
  }
  yield `${chunk}\n}}\n`;
}

function readIfPresent(path: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      // A dangling link means state that is missing now, on a disk that is not mounted yet for example.
      if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
      throw new StateFileUnusable(path, "it is a link to a file that does not exist");
    }
    const isText = code !== "ERR_ENCODING_INVALID_ENCODED_DATA";
    throw new StateFileUnusable(path, isText ? `reading it failed with ${code}` : "it is not UTF-8 text");
  }
}

export interface PeriodicFile {
  /** Marks the state as changed. Costs next to nothing. */
  touch(): void;
  /** Writes pending changes. @throws as `replaceState`. */
  close(): Promise<void>;
}

export interface PeriodicFileOptions<T> {
  readonly path: string;
  readonly intervalMs: number;
  /** The state to write, read when a write begins. */
  readonly entries: () => Iterable<readonly [key: string, value: T]>;
  /** Called when a write fails: it is retried after another interval. */
  readonly onFailure: (error: unknown) => void;
}

/** A crash loses at most one interval of changes. Nothing is written while nothing changes. */
export function openPeriodicFile<T>({ path, intervalMs, entries, onFailure }: PeriodicFileOptions<T>): PeriodicFile {
  let isDirty = false;
  let waitMs = intervalMs;
  let revision = 0;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;

  async function write(): Promise<void> {
    isDirty = false;
    revision += 1;
    // A copy of the list: the list itself may change, and be reordered, during the write.
    const now: State<T> = { revision, entries: [...entries()] };
    try {
      await replaceState(path, now, now);
    } catch (error) {
      isDirty = true;
      throw error;
    }
  }

  /** One write at a time: the next interval begins when the last write has ended. */
  function schedule(): void {
    if (timer !== undefined || writing !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      const startedAt = performance.now();
      writing = write()
        .catch(onFailure)
        .then(() => {
          waitMs = Math.max(intervalMs, (performance.now() - startedAt) * PAUSES_PER_WRITE);
          writing = undefined;
          if (isDirty) schedule();
        });
    }, waitMs);
    timer.unref();
  }

  return {
    touch() {
      isDirty = true;
      schedule();
    },
    async close() {
      await writing;
      clearTimeout(timer);
      if (isDirty) await write();
    },
  };
}

/** As `fs.Stats` has it. */
export interface FileOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** The new text is in the file, but may be lost when the machine loses power. */
export class NotDurable extends Error {}

/**
 * Writes the text to a temporary file next to the file, flushes it to the disk, and renames it. Own code, because the library
 * for it treats a write(2) that a full disk cut short as complete (decision 0009).
 *
 * Only one process uses a folder and only one writer a file, so the temporary name is fixed and a crash leaves at most one.
 * @param owner of the new file, and its permissions.
 * @throws NotDurable, or node:fs's error (ENOSPC, EIO, EROFS …): then the file is unchanged.
 */
export async function replaceFile(path: string, chunks: Iterable<string>, owner?: FileOwner): Promise<void> {
  const temporary = `${path}.tmp`;
  try {
    await writeNew(temporary, chunks, owner);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
  try {
    await syncFolder(dirname(path));
  } catch (cause) {
    throw new NotDurable(path, { cause });
  }
}

async function writeNew(path: string, chunks: Iterable<string>, owner: FileOwner | undefined): Promise<void> {
  await rm(path, { force: true });
  const file = await open(path, "wx", 0o600);
  try {
    if (owner !== undefined) {
      // Only root may give a file away. Then the gateway's user must still be able to read it.
      if (process.getuid?.() === 0) await file.chown(owner.uid, owner.gid);
      await file.chmod(owner.mode & 0o777);
    }
    // appendFile continues after a write(2) that took only a part, until the disk reports an error.
    for (const chunk of chunks) await file.appendFile(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename is on the disk once its folder is (fsync(2)). */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
