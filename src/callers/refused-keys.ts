/**
 * What was wrong with the keys that were refused: for the operator, never for whoever presented them, to whom it would be a way
 * to guess. Invariant: nothing of a key is kept, and all comparisons are of digests.
 */

/** `cut short`: the beginning or the end of the key. `with more around it`: quotes, spaces, a scheme twice. */
export type KeyFault =
  | "missing"
  | "another scheme"
  | "the other plane's key"
  | "cut short"
  | "with more around it"
  | "in another case"
  | "unknown";

export interface RefusedKeys {
  readonly plane: "proxy" | "management";
  readonly fault: KeyFault;
  readonly count: number;
  /** ms since the epoch. */
  readonly lastAt: number;
}

/** Less than this of a key may be anything. */
const RECOGNISABLE = 8;

/** @param isSame compares two texts in constant time. */
export function faultOf(
  presented: string,
  key: string,
  isSame: (a: string, b: string) => boolean,
): "cut short" | "with more around it" | "in another case" | "unknown" {
  const { length } = presented;
  if (length >= RECOGNISABLE && length < key.length) {
    if (isSame(presented, key.slice(0, length)) || isSame(presented, key.slice(-length))) return "cut short";
  }
  const bare = presented.replace(/^(?:\s|["'`<[{$]|(?:bearer|token)\s)+|[\s"'`>\]},;]+$/gi, "");
  if (bare !== presented && isSame(bare, key)) return "with more around it";
  return isSame(presented.toLowerCase(), key.toLowerCase()) ? "in another case" : "unknown";
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
