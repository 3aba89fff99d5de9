/** What something takes, to be compared with what it takes for more: a ratio holds on any machine, a number of milliseconds on none. */

/** ms of the quickest of some runs: what else the machine does only ever adds. */
export async function costOf(run: () => unknown, runs = 5): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) {
    const startedAt = performance.now();
    await run();
    least = Math.min(least, performance.now() - startedAt);
  }
  return least;
}
