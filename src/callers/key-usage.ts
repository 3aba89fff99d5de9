/**
 * How often each issued key was used, and when it was last.
 * Invariant: noting a use waits for nothing and allocates nothing; what a crash takes is at most one interval of it.
 */

import { isObject } from "../is-object.ts";
import { openPeriodicFile, readState } from "../stores/state-file.ts";

/** Between two writes, ms. */
const SAVE_INTERVAL_MS = 5_000;

export interface Usage {
  readonly uses: number;
  /** ms since the epoch. */
  readonly lastUsedAt: number;
}

export interface KeyUsage {
  note(id: string, now: number): void;
  /** Undefined for a key that was never used. */
  of(id: string): Usage | undefined;
  /** Forgets the keys that are no more. */
  keepOnly(isKept: (id: string) => boolean): void;
  /** Keeps what it knows. @throws what node:fs raised. */
  close(): Promise<void>;
}

export interface KeyUsageFileOptions {
  readonly path: string;
  /** Told when the file could not be written. */
  readonly onFailure: (error: unknown) => void;
  readonly saveIntervalMs?: number;
}

interface MutableUsage {
  uses: number;
  lastUsedAt: number;
}

export interface KeyUsageOptions {
  /** What was known when the process ended. */
  readonly initial?: Iterable<readonly [id: string, usage: Usage]>;
  /** Told after each change. */
  readonly onChange?: () => void;
  readonly close?: () => Promise<void>;
}

export interface MemoryKeyUsage extends KeyUsage {
  /** For a file. */
  entries(): Iterable<readonly [id: string, usage: Usage]>;
}

export function createKeyUsage(options: KeyUsageOptions = {}): MemoryKeyUsage {
  const { initial = [], onChange = () => {}, close = async () => {} } = options;
  const usages = new Map<string, MutableUsage>();
  for (const [id, { uses, lastUsedAt }] of initial) usages.set(id, { uses, lastUsedAt });
  return {
    note(id, now) {
      const usage = usages.get(id);
      if (usage === undefined) {
        usages.set(id, { uses: 1, lastUsedAt: now });
      } else {
        usage.uses += 1;
        usage.lastUsedAt = now;
      }
      onChange();
    },
    of: (id) => usages.get(id),
    keepOnly(isKept) {
      for (const id of usages.keys()) {
        if (isKept(id)) continue;
        usages.delete(id);
        onChange();
      }
    },
    entries: () => usages,
    close,
  };
}

/** @throws StateFileUnusable */
export function openKeyUsage({ path, onFailure, saveIntervalMs = SAVE_INTERVAL_MS }: KeyUsageFileOptions): KeyUsage {
  const initial = readState(path, isUsage)?.entries ?? [];
  const file = openPeriodicFile<Usage>({
    ...{ path, intervalMs: saveIntervalMs, onFailure },
    entries: () => usage.entries(),
  });
  const usage = createKeyUsage({ initial, onChange: file.touch, close: file.close });
  return usage;
}

function isUsage(value: unknown): value is Usage {
  return isObject(value) && Number.isSafeInteger(value.uses) && Number.isFinite(value.lastUsedAt);
}
