/**
 * One look at each upstream, shared by the checks that need it.
 * Invariant: at most so many at the same time, and none is begun or waited for when the time is up.
 */
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
  const lanes: Promise<unknown>[] = Array.from({ length: SIDE_BY_SIDE }, () => Promise.resolve());
  for (const [index, key] of keys.entries()) {
    const lane = index % SIDE_BY_SIDE;
    const look = (lanes[lane] as Promise<unknown>).then(() => {
      const leftMs = Math.floor(endsAt - performance.now());
      return leftMs < LEAST_MS ? undefined : probe(key, leftMs);
    });
    lanes[lane] = look;
    outcomes.set(key, look);
  }
  return {
    of: async (key) => outcomes.get(key),
    all: async () => (await Promise.all(outcomes.values())).filter((outcome) => outcome !== undefined),
  };
}
