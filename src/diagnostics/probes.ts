/**
 * Probes each upstream once per run, for all checks that need the outcome.
 * Invariant: a bounded number of probes runs at the same time, and none starts or is waited for after the time limit.
 */
import { setImmediate } from "node:timers/promises";
import type { ProbeOutcome } from "../data-plane/forward/probe.ts";

/** Upstreams that are probed at the same time. */
const PARALLEL_LIMIT = 32;

/** A probe with less time than this would fail for lack of time, not because of the upstream. */
const LEAST_MS = 250;

export interface Probes {
  /** Undefined if the time was up before this upstream was probed. */
  of(key: string): Promise<ProbeOutcome | undefined>;
  all(): Promise<readonly ProbeOutcome[]>;
}

/** @param withinMs time limit for all probes together. */
export function startProbes(
  keys: readonly string[],
  probe: (key: string, withinMs: number) => Promise<ProbeOutcome>,
  withinMs: number,
): Probes {
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
  // One iterator, shared by all workers: each upstream is probed once.
  const waiting = all.values();
  // One start in each turn of the event loop, because a new TLS connection takes a millisecond.
  let started: Promise<unknown> = Promise.resolve();
  const nextTurn = () => {
    started = started.then(() => setImmediate());
    return started;
  };
  async function work(): Promise<void> {
    for (const next of waiting) {
      await nextTurn();
      const leftMs = Math.floor(endsAt - performance.now());
      // Each settled outcome starts the checks of its service.
      if (leftMs < LEAST_MS) next.settle(undefined);
      // A service that was removed meanwhile counts as one that there was no time for.
      else next.settle(await probe(next.key, leftMs).catch(() => undefined));
    }
  }
  for (let worker = 0; worker < PARALLEL_LIMIT; worker++) void work();
  return {
    of: async (key) => outcomes.get(key),
    all: async () => (await Promise.all(outcomes.values())).filter((outcome) => outcome !== undefined),
  };
}
