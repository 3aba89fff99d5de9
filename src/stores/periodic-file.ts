/**
 * State that changes with every request, kept in a file every now and then: what a crash takes is at most one interval.
 * Invariant: nothing is written while nothing changed, and what is written is whole.
 */
import { replaceState, type State } from "./state-file.ts";

export interface PeriodicFile {
  /** Says that there is something to write. Costs next to nothing. */
  touch(): void;
  /** Writes what is left to write. @throws as `replaceState`. */
  close(): Promise<void>;
}

export interface PeriodicFileOptions<T> {
  readonly path: string;
  readonly intervalMs: number;
  /** What is to be written, read off while it is written. */
  readonly entries: () => Iterable<readonly [key: string, value: T]>;
  /** Told when a write failed: it is tried again after another interval. */
  readonly onFailure: (error: unknown) => void;
}

/** What takes long to write is written less often. */
const PAUSES_PER_WRITE = 20;

export function openPeriodicFile<T>({ path, intervalMs, entries, onFailure }: PeriodicFileOptions<T>): PeriodicFile {
  let isDirty = false;
  let waitMs = intervalMs;
  let revision = 0;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> | undefined;

  async function write(): Promise<void> {
    isDirty = false;
    revision += 1;
    // A copy of the list: the list itself may change, and turn round, while it is written.
    const now: State<T> = { revision, entries: [...entries()] };
    try {
      await replaceState(path, now, now);
    } catch (error) {
      isDirty = true;
      throw error;
    }
  }

  /** One write at a time: the next interval begins when the last one has ended. */
  function schedule(): void {
    if (timer !== undefined || writing !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      const begunAt = performance.now();
      writing = write()
        .catch(onFailure)
        .then(() => {
          waitMs = Math.max(intervalMs, (performance.now() - begunAt) * PAUSES_PER_WRITE);
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
