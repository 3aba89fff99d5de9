/**
 * The pairs of neighbouring bytes that occur in the beginnings of secrets, in any spelling.
 * Invariant: it has all of them, so a window of a text with another pair holds no beginning of a secret before that pair ends; it may have more.
 */
import { SPACE, UNESCAPED } from "./character-tables.ts";
import { acceptedBytes, type Needle } from "./needles.ts";
import { entityNames, hexSpellings } from "./spellings.ts";

/** One bit for each pair `first * 256 + second`. */
export type PairFilter = Uint32Array;

/** @param length bytes of a window; no more units of a needle are in one. */
export function createPairFilter(needles: readonly Needle[], length: number): PairFilter {
  const filter = new Uint32Array(65_536 / 32);
  const add = (first: string, second: string) => {
    const pair = first.charCodeAt(0) * 256 + second.charCodeAt(0);
    filter[pair >>> 5] = (filter[pair >>> 5] as number) | (1 << (pair & 31));
  };
  for (const needle of needles) {
    /** The last characters of what may precede a unit. */
    const precedingUnit: Set<string>[] = Array.from({ length: needle.wanted.length + 1 }, () => new Set());
    for (let unit = 0; unit < Math.min(length, needle.wanted.length); unit++) {
      const addSpellings = (spellings: readonly string[], units: number) => {
        for (const first of new Set(spellings.map((text) => text.charAt(0)))) {
          for (const last of precedingUnit[unit] as Set<string>) add(last, first);
        }
        for (const text of spellings) {
          for (let i = 0; i + 1 < text.length; i++) add(text.charAt(i), text.charAt(i + 1));
          precedingUnit[unit + units]?.add(text.charAt(text.length - 1));
        }
      };
      addSpellings(spellingsOf(needle, unit), 1);
      const wide = needle.wide?.get(unit);
      if (wide !== undefined) addSpellings(wideSpellings(wide.codeUnits), wide.length);
    }
  }
  return filter;
}

/** One of each kind: longer runs of `%25` and of backslashes have the same pairs. */
function spellingsOf(needle: Needle, unit: number): string[] {
  return acceptedBytes(needle, unit).flatMap((value) => {
    const character = String.fromCharCode(value);
    const spellings = [character, ...entityNames(value).map((name) => `&${name}`)];
    if (value === SPACE) spellings.push("+");
    for (const digits of hexSpellings(value.toString(16).padStart(2, "0"))) {
      spellings.push(`%${digits}`, `%25${digits}`, `%2525${digits}`, `\\\\u00${digits}`, `\\\\x${digits}`);
    }
    if (character === "\\") spellings.push("\\\\");
    UNESCAPED.forEach((unescaped, letter) => {
      if (unescaped === value && value !== 0) spellings.push(`\\\\${String.fromCharCode(letter)}`);
    });
    return spellings;
  });
}

function wideSpellings(codeUnits: readonly number[]): string[] {
  return codeUnits
    .map((codeUnit) => hexSpellings(codeUnit.toString(16).padStart(4, "0")).map((digits) => `\\\\u${digits}`))
    .reduce((begun, next) => begun.flatMap((text) => next.map((one) => text + one)));
}
