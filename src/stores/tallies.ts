/**
 * Tallies: tokens spent by key, in the current hour, day and month in UTC. With a file they outlive the process: a spent budget stays
 * spent over a restart.
 * Invariant: an addition counts for every read after the call; a tally without a fallback is never dropped before its month is over;
 * and a clock that is set back a little begins no new window.
 */
import { PERIODS, type Period, windowEnd, windowStart } from "../config/token-budget.ts";
import { isObject } from "../is-object.ts";
import { openPeriodicFile, readState } from "./state-file.ts";

/** Disjoint kinds of tokens: their sum is what was spent. */
export interface TokenCounts {
  /** Read by the model, without those of `cached`. */
  readonly input: number;
  /** Read by the model from the upstream's cache of prompts. */
  readonly cached: number;
  readonly output: number;
  /** Of responses that did not report what they cost. */
  readonly estimated: number;
}

export interface Tally extends TokenCounts {
  readonly key: string;
  readonly total: number;
}

/** The caller passes all times, ms since the epoch. Async, because a shared store is planned. */
export interface Tallies {
  /** @param fallback the key that counts instead, if this one is new and there are too many. */
  add(key: string, counts: TokenCounts, now: number, fallback?: string): Promise<void>;
  /** Tokens in the window that contains `now`. */
  total(key: string, per: Period, now: number): Promise<number>;
  /** Those with tokens in the window that contains `now`. @param prefix of the keys. */
  list(prefix: string, per: Period, now: number): Promise<readonly Tally[]>;
  /** Writes pending changes. */
  close(): Promise<void>;
}

/** The start of a window, and the counts in it. */
type Slot = [start: number, input: number, cached: number, output: number, estimated: number];

type Slots = Record<Period, Slot>;

/** Keys with a fallback. About 600 bytes each. */
const KEYS_LIMIT = 20_000;

/** Sums of four stay exact. */
const COUNT_LIMIT = 1_000_000_000_000_000;

/** Between two writes of the file, ms. */
const SAVE_INTERVAL_MS = 1_000;

export interface TalliesOptions {
  /** The tallies of the process before. */
  readonly initial?: Iterable<readonly [key: string, slots: Slots]>;
  /** Called after each change. */
  readonly onChange?: () => void;
  readonly limit?: number | undefined;
  readonly close?: () => Promise<void>;
}

export interface MemoryTallies extends Tallies {
  /** For the file. */
  entries(): Iterable<readonly [key: string, slots: Slots]>;
}

export function createTallies(options: TalliesOptions = {}): MemoryTallies {
  const { initial = [], onChange = () => {}, limit = KEYS_LIMIT, close = async () => {} } = options;
  const kept = new Map<string, Slots>(initial);
  let sweptMonth = 0;

  /** Drops the tallies of earlier months; once in each month. */
  function sweep(now: number): void {
    const month = windowStart("month", now);
    if (month === sweptMonth) return;
    sweptMonth = month;
    for (const [key, { month: slot }] of kept) if (!isCurrent(slot, "month", now)) kept.delete(key);
  }

  return {
    async add(key, counts, now, fallback) {
      sweep(now);
      const isNew = fallback !== undefined && !kept.has(key);
      const counted = isNew && kept.size >= limit ? fallback : key;
      const slots = kept.get(counted) ?? emptySlots(now);
      for (const per of PERIODS) {
        const slot = isCurrent(slots[per], per, now) ? slots[per] : emptySlot(per, now);
        const [start, input, cached, output, estimated] = slot;
        const sums = [
          input + counts.input,
          cached + counts.cached,
          output + counts.output,
          estimated + counts.estimated,
        ];
        const [a = 0, b = 0, c = 0, d = 0] = sums.map((sum) => Math.min(sum, COUNT_LIMIT));
        // A new slot: the file may be writing the old one.
        slots[per] = [start, a, b, c, d];
      }
      kept.set(counted, slots);
      onChange();
    },
    async total(key, per, now) {
      const slot = kept.get(key)?.[per];
      return slot !== undefined && isCurrent(slot, per, now) ? totalOf(slot) : 0;
    },
    async list(prefix, per, now) {
      const found: Tally[] = [];
      for (const [key, { [per]: slot }] of kept) {
        if (!key.startsWith(prefix) || !isCurrent(slot, per, now)) continue;
        const [, input, cached, output, estimated] = slot;
        found.push({ key, input, cached, output, estimated, total: totalOf(slot) });
      }
      return found;
    },
    entries: () => kept,
    close,
  };
}

export interface FileTalliesOptions {
  readonly path: string;
  /** Called when a write fails. */
  readonly onFailure: (error: unknown) => void;
  readonly saveIntervalMs?: number;
  readonly limit?: number | undefined;
}

/** A crash loses at most the interval, or for a very large file the pause between two writes. @throws StateFileUnusable */
export function openFileTallies({
  path,
  onFailure,
  saveIntervalMs = SAVE_INTERVAL_MS,
  limit,
}: FileTalliesOptions): Tallies {
  const initial = readState(path, isSlots)?.entries ?? [];
  const file = openPeriodicFile<Slots>({
    path,
    intervalMs: saveIntervalMs,
    onFailure,
    entries: () => tallies.entries(),
  });
  const tallies: MemoryTallies = createTallies({ initial, limit, onChange: file.touch, close: file.close });
  return tallies;
}

function isSlots(value: unknown): value is Slots {
  const isSlot = (slot: unknown) => Array.isArray(slot) && slot.length === 5 && slot.every(Number.isSafeInteger);
  return isObject(value) && PERIODS.every((per) => isSlot(value[per]));
}

const emptySlot = (per: Period, now: number): Slot => [windowStart(per, now), 0, 0, 0, 0];

const emptySlots = (now: number): Slots => ({
  hour: emptySlot("hour", now),
  day: emptySlot("day", now),
  month: emptySlot("month", now),
});

/** Also of the next window: the clock was set back since, and a window must not begin twice. */
function isCurrent([start]: Slot, per: Period, now: number): boolean {
  return start === windowStart(per, now) || start === windowEnd(per, now);
}

function totalOf([, input, cached, output, estimated]: Slot): number {
  return input + cached + output + estimated;
}
