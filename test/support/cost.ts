/** Measures a duration, to be compared with another one: a ratio holds on any machine, milliseconds do not. */

/** ms of the fastest of some runs: other load on the machine only makes a run slower. */
export async function costOf(run: () => unknown, runs = 5): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const startedAt = performance.now();
    await run();
    least = Math.min(least, performance.now() - startedAt);
  }
  return least;
}
