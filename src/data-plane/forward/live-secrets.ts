/** What follows from secrets that may change while the gateway runs: it is computed again when they have. */

/** @param secrets returns the same array until they change. */
export function deriveFrom<T>(secrets: () => readonly string[], derive: (secrets: readonly string[]) => T): () => T {
  let known = secrets();
  let derived = derive(known);
  return () => {
    const now = secrets();
    if (now !== known) {
      derived = derive(now);
      known = now;
    }
    return derived;
  };
}
