/**
 * Records that operators create and change, by key, each with the version of its last change; in memory or in a file.
 * Invariant: a change is on the disk before it is confirmed; of two changes that expect the same version one is refused; and
 * readers see either all of a change or nothing of it.
 */
import { isObject } from "../is-object.ts";
import { readState, replaceState, type State } from "./state-file.ts";

export interface StoredRecord<T> {
  readonly value: T;
  /** Rises with each change of any record and is never reused: a record that was deleted and created again has another one. */
  readonly version: number;
}

/** The expected version of a key without a record. */
export const ABSENT = 0;

export interface Records<T> {
  /** The current records, in memory: a read waits for nothing. */
  readonly entries: ReadonlyMap<string, StoredRecord<T>>;
  /** @param expected the version that must be current; any, when left out. @throws VersionConflict, or the store's failure: then nothing changed. */
  put(key: string, value: T, expected?: number): Promise<StoredRecord<T>>;
  /** False when there was no record. Throws as `put` does. */
  delete(key: string, expected?: number): Promise<boolean>;
  /** Calls the listener with each changed key, after `entries` shows the change and before it is confirmed. Returns a function that stops it. */
  watch(listener: (key: string) => void): () => void;
  /** Waits for the current write. */
  close(): Promise<void>;
}

/** Another change came first. */
export class VersionConflict extends Error {
  readonly current: number;

  constructor(key: string, current: number) {
    super(`the record ${key} has version ${current}`);
    this.current = current;
  }
}

export type RecordsState<T> = State<StoredRecord<T>>;

/** Stores a state so that it outlives the process. @throws when that fails; then `before` is the stored state. */
export type Persist<T> = (next: RecordsState<T>, before: RecordsState<T>) => Promise<void>;

type IsValue<T> = (value: unknown) => value is T;

interface Change<T> {
  readonly key: string;
  /** Undefined deletes. */
  readonly value: T | undefined;
  readonly expected: number | undefined;
  readonly resolve: (stored: StoredRecord<T> | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** @param isValue checks a value read from the file. @throws StateFileUnusable */
export function openFileRecords<T>(path: string, isValue: IsValue<T>): Records<T> {
  return createRecords<T>((next, before) => replaceState(path, next, before), readRecords(path, isValue));
}

/** A copy of the file's records in memory, for a process without the lock: changes are not written. @throws StateFileUnusable */
export function readFileRecords<T>(path: string, isValue: IsValue<T>): Records<T> {
  return createRecords<T>(undefined, readRecords(path, isValue));
}

function readRecords<T>(path: string, isValue: IsValue<T>): RecordsState<T> | undefined {
  const isRecord = (entry: unknown): entry is StoredRecord<T> =>
    isObject(entry) && Number.isSafeInteger(entry.version) && isValue(entry.value);
  return readState(path, isRecord);
}

/** @param persist without it nothing outlives the process. */
export function createRecords<T>(
  persist: Persist<T> = async () => {},
  initial: RecordsState<T> = { revision: 0, entries: [] },
): Records<T> {
  const entries = new Map(initial.entries);
  let { revision } = initial;
  const listeners = new Set<(key: string) => void>();
  let waiting: Change<T>[] = [];
  let writing: Promise<void> | undefined;

  /** Changes that came during a write are written together by the next one. */
  async function writeWaiting(): Promise<void> {
    while (waiting.length > 0) {
      const changes = waiting;
      waiting = [];
      await commit(changes);
    }
    writing = undefined;
  }

  async function commit(changes: readonly Change<T>[]): Promise<void> {
    const draft = new Map<string, StoredRecord<T> | undefined>();
    let next = revision;
    const accepted: [Change<T>, StoredRecord<T> | undefined][] = [];
    for (const change of changes) {
      const { key, value, expected } = change;
      const present = draft.has(key) ? draft.get(key) : entries.get(key);
      const version = present?.version ?? ABSENT;
      if (expected !== undefined && expected !== version) {
        change.reject(new VersionConflict(key, version));
      } else if (value !== undefined) {
        next += 1;
        const stored = { value, version: next };
        draft.set(key, stored);
        accepted.push([change, stored]);
      } else {
        if (present !== undefined) {
          next += 1;
          draft.set(key, undefined);
        }
        accepted.push([change, present]);
      }
    }
    try {
      if (next > revision) {
        await persist({ revision: next, entries: withDraft(entries, draft) }, { revision, entries });
      }
    } catch (error) {
      for (const [{ reject }] of accepted) reject(error);
      return;
    }
    revision = next;
    for (const [key, stored] of draft) {
      if (stored === undefined) entries.delete(key);
      else entries.set(key, stored);
    }
    for (const key of draft.keys()) for (const listener of listeners) listener(key);
    for (const [{ resolve }, stored] of accepted) resolve(stored);
  }

  function enqueue(key: string, value: T | undefined, expected: number | undefined) {
    return new Promise<StoredRecord<T> | undefined>((resolve, reject) => {
      waiting.push({ key, value, expected, resolve, reject });
      writing ??= writeWaiting();
    });
  }

  return {
    entries,
    put: (key, value, expected) => enqueue(key, value, expected) as Promise<StoredRecord<T>>,
    async delete(key, expected) {
      return (await enqueue(key, undefined, expected)) !== undefined;
    },
    watch(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async close() {
      await writing;
      listeners.clear();
    },
  };
}

/** The entries after the change, in the order of their creation, without a copy of them all. */
function* withDraft<T>(
  entries: ReadonlyMap<string, StoredRecord<T>>,
  draft: ReadonlyMap<string, StoredRecord<T> | undefined>,
): Generator<readonly [string, StoredRecord<T>]> {
  for (const [key, before] of entries) {
    const stored = draft.has(key) ? draft.get(key) : before;
    if (stored !== undefined) yield [key, stored];
  }
  for (const [key, stored] of draft) if (stored !== undefined && !entries.has(key)) yield [key, stored];
}
