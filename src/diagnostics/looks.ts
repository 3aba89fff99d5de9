/**
 * One look at each upstream, shared by the checks that need it.
 * Invariant: at most so many at the same time, and none is begun or waited for when the time is up.
 */
import { setImmediate } from "node:timers/promises";
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { Looks } from "./check.ts";

/** Upstreams looked at side by side. */
const SIDE_BY_SIDE = 32;

/** With less than this left, ms, a look would say more of the hurry than of the upstream. */
const LEAST_MS = 250;

/** @param withinMs for all of them. */
export function takeLooks(
  keys: readonly string[],
  probe: (key: string, withinMs: number) => Promise<ProbeOutcome>,
  withinMs: number,
): Looks {
  const endsAt = performance.now() + withinMs;
  const outcomes = new Map<string, Promise<ProbeOutcome | undefined>>();
  const all = keys.map((key) => {
    let settle: (outcome: ProbeOutcome | undefined) => void = () => {};
    outcomes.set(
      key,
      new Promise((resolve) => {
        settle = resolve;
      }),
    );
    return { key, settle };
  });
  /** Shared: each look is taken by whoever comes first. */
  const waiting = all.values();
  async function takeTurns(): Promise<void> {
    for (const next of waiting) {
      const leftMs = Math.floor(endsAt - performance.now());
      // Each that is settled sets its checks to work: of thousands that are late, a few at a time.
      if (leftMs < LEAST_MS) next.settle(await setImmediate(undefined));
      // A service that was removed meanwhile is as one that there was no time for.
      else next.settle(await probe(next.key, leftMs).catch(() => undefined));
    }
  }
  for (let turn = 0; turn < SIDE_BY_SIDE; turn++) void takeTurns();
  return {
    of: async (key) => outcomes.get(key),
    all: async () => (await Promise.all(outcomes.values())).filter((outcome) => outcome !== undefined),
  };
}
