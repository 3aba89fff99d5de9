/**
 * One JSON file of run-time state, replaced as a whole.
 * Invariant: the file is always the state before or the state after a change, never a part of one; and a file that cannot be
 * read stops the start: it never counts as empty.
 */
import { lstatSync, readFileSync } from "node:fs";
import { isObject } from "../is-object.ts";
import { NotDurable, replaceFile } from "./replace-file.ts";

/** Of the form of the file; a program that knows only older ones refuses to touch it. */
const FORMAT = 1;

/** Text handed to the disk at once. Between two of them the event loop turns, so this bounds how long a save holds it up. */
const CHUNK_CHARACTERS = 32 * 1024;

/** A file of state that is there and cannot be used. The message says what to do. */
export class StateFileUnusable extends Error {
  constructor(path: string, reason: string) {
    super(`${path} cannot be used: ${reason}; put back a copy of it, or move it away to start without what was in it.`);
  }
}

export interface State<T> {
  /** Counts the changes that were ever made. */
  readonly revision: number;
  readonly entries: Iterable<readonly [key: string, value: T]>;
}

/** Undefined where there is no such file. @throws StateFileUnusable */
export function readState<T>(path: string, isEntry: (value: unknown) => value is T): State<T> | undefined {
  const text = readIfThere(path);
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
  const bad = found.find(([, value]) => !isEntry(value));
  if (bad !== undefined) throw unusable(`the entry ${JSON.stringify(bad[0])} is not of its form`);
  return { revision: revision as number, entries: found as [string, T][] };
}

/**
 * Resolves once the new state is on the disk. When that fails the state before stands, as far as the disk allows.
 * @param before what the file holds now. @throws what node:fs raised: ENOSPC, EIO, EROFS …
 */
export async function replaceState<T>(path: string, next: State<T>, before: State<T>): Promise<void> {
  try {
    await replaceFile(path, chunksOf(next));
  } catch (error) {
    if (!(error instanceof NotDurable)) throw error;
    // Whoever is told that a change failed must not find it there after the next start.
    await replaceFile(path, chunksOf(before)).catch(() => {});
    throw error.cause;
  }
}

/** A line an entry: to be read, and compared, by people too. */
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

function readIfThere(path: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path));
  } catch (error) {
    const { code = "unknown" } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      // What it leads to is a state that is not there now, on a disk that is not mounted yet, say.
      if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
      throw new StateFileUnusable(path, "it is a link that leads nowhere");
    }
    const isText = code !== "ERR_ENCODING_INVALID_ENCODED_DATA";
    throw new StateFileUnusable(path, isText ? `reading it failed with ${code}` : "it is not UTF-8 text");
  }
}
