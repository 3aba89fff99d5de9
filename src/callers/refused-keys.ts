/**
 * What was wrong with the keys that were refused: for the operator, never for whoever presented them, to whom it would be a way
 * to guess. Invariant: nothing of a key is kept, and all comparisons are of digests.
 */

/** `too short`: it may have been cut. `with more around it`: quotes, spaces, a scheme twice. `ended`: an issued key that expired or was revoked. */
export type KeyFault =
  | "missing"
  | "another scheme"
  | "the other plane's key"
  | "too short"
  | "with more around it"
  | "in another case"
  | "a misspelt issued key"
  | "ended"
  | "unknown";

export interface RefusedKeys {
  readonly plane: "proxy" | "management";
  readonly fault: KeyFault;
  readonly count: number;
  /** ms since the epoch. */
  readonly lastAt: number;
}

/** What is shorter may be anything. */
const RECOGNISABLE = 8;

/** Around a key that is all there: quotes, and a scheme that was written twice. */
const SURROUNDINGS_LIMIT = 32;

/**
 * Only what whoever knows the whole key could bring about is told by its content: anything less would be a way to find the key out
 * piece by piece. @param isSame compares two texts in constant time.
 */
export function faultOf(presented: string, key: string, isSame: (a: string, b: string) => boolean): KeyFault {
  if (presented.length >= RECOGNISABLE && presented.length < key.length) return "too short";
  if (presented.length > key.length + SURROUNDINGS_LIMIT) return "unknown";
  const bare = withoutSurroundings(presented);
  if (bare !== presented && isSame(bare, key)) return "with more around it";
  return isSame(presented.toLowerCase(), key.toLowerCase()) ? "in another case" : "unknown";
}

function withoutSurroundings(text: string): string {
  const bare = text.replace(/^["'`]/, "").replace(/^(?:bearer|token) /i, "");
  return bare.replace(/["'`;,]$/, "").trim();
}

export function createRefusedKeys() {
  const counts = new Map<string, RefusedKeys>();
  return {
    add(plane: RefusedKeys["plane"], fault: KeyFault): void {
      const at = `${plane} ${fault}`;
      counts.set(at, { plane, fault, count: (counts.get(at)?.count ?? 0) + 1, lastAt: Date.now() });
    },
    list: (): readonly RefusedKeys[] => [...counts.values()],
  };
}
