/**
 * Records: what operators make and change, by key, each with the version of its last change.
 * Invariant: a change that was answered for is kept; of two that expect the same version one is refused; and readers see
 * either all of a change or nothing of it.
 */

export interface StoredRecord<T> {
  readonly value: T;
  /** Rises with each change of any record, and is never given twice: a record that was deleted and made anew is another. */
  readonly version: number;
}

/** The version expected of a key that holds nothing. */
export const ABSENT = 0;

export interface Records<T> {
  /** What is there now, in memory: reading waits for nothing. */
  readonly entries: ReadonlyMap<string, StoredRecord<T>>;
  /** @param expected version that has to be there; any, when left out. @throws VersionConflict, or the store's failure: then nothing changed. */
  put(key: string, value: T, expected?: number): Promise<StoredRecord<T>>;
  /** False when there was nothing. Throws as `put` does. */
  delete(key: string, expected?: number): Promise<boolean>;
  /** Told of each changed key, after `entries` shows it and before the change is answered for. Returns the way to stop. */
  watch(listener: (key: string) => void): () => void;
  /** Finishes what is being written. */
  close(): Promise<void>;
}

/** Somebody else was quicker. */
export class VersionConflict extends Error {
  readonly current: number;

  constructor(key: string, current: number) {
    super(`the record ${key} is of version ${current}`);
    this.current = current;
  }
}

export interface RecordsState<T> {
  readonly revision: number;
  readonly entries: Iterable<readonly [key: string, record: StoredRecord<T>]>;
}

/** Makes a state the one that outlives the process. @throws when it is not; then it is `before` that does. */
export type Persist<T> = (next: RecordsState<T>, before: RecordsState<T>) => Promise<void>;

interface Change<T> {
  readonly key: string;
  /** Undefined deletes. */
  readonly value: T | undefined;
  readonly expected: number | undefined;
  readonly resolve: (stored: StoredRecord<T> | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** @param persist nothing outlives the process when left out. */
export function createRecords<T>(
  persist: Persist<T> = async () => {},
  initial: RecordsState<T> = { revision: 0, entries: [] },
): Records<T> {
  const entries = new Map(initial.entries);
  let { revision } = initial;
  const listeners = new Set<(key: string) => void>();
  let waiting: Change<T>[] = [];
  let writing: Promise<void> | undefined;

  /** All changes that came while the last ones were written are written together. */
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
        await persist({ revision: next, entries: overlaid(entries, draft) }, { revision, entries });
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

/** As they will be, without a copy of them all. */
function* overlaid<T>(
  entries: ReadonlyMap<string, StoredRecord<T>>,
  draft: ReadonlyMap<string, StoredRecord<T> | undefined>,
): Generator<readonly [string, StoredRecord<T>]> {
  for (const entry of entries) if (!draft.has(entry[0])) yield entry;
  for (const [key, stored] of draft) if (stored !== undefined) yield [key, stored];
}
