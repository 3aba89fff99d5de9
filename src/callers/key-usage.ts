/**
 * How often and when each issued key was used.
 * Invariant: noting a use of a known key waits for nothing and allocates nothing; a crash loses at most one save interval.
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
  /** Drops the usage of deleted keys. */
  keepOnly(isKept: (id: string) => boolean): void;
  /** Writes pending changes. @throws node:fs's error. */
  close(): Promise<void>;
}

export interface KeyUsageFileOptions {
  readonly path: string;
  /** Called when a write fails. */
  readonly onFailure: (error: unknown) => void;
  readonly saveIntervalMs?: number;
}

interface MutableUsage {
  uses: number;
  lastUsedAt: number;
}

export interface KeyUsageOptions {
  /** The usage that the process before saved. */
  readonly initial?: Iterable<readonly [id: string, usage: Usage]>;
  /** Called after each change. */
  readonly onChange?: () => void;
  readonly close?: () => Promise<void>;
}

export interface MemoryKeyUsage extends KeyUsage {
  /** For the file. */
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
    path,
    intervalMs: saveIntervalMs,
    onFailure,
    entries: () => usage.entries(),
  });
  const usage = createKeyUsage({ initial, onChange: file.touch, close: file.close });
  return usage;
}

function isUsage(value: unknown): value is Usage {
  return isObject(value) && Number.isSafeInteger(value.uses) && Number.isFinite(value.lastUsedAt);
}
