/**
 * Finds secrets in bytes, in all spellings of `spellings.ts`, where they may be cut at the end.
 * Invariant: every copy is found, also one that overlaps another; and a text without copies is read about once for each window,
 * not for each byte: a window is skipped up to the last of its pairs that no secret begins with.
 */
import { ESCAPES } from "./character-tables.ts";
import { accepts, createNeedles, type Needle } from "./needles.ts";
import { createPairFilter, type PairFilter } from "./pair-filter.ts";
import { LONGEST_SPELLING, mayComplete, readByte, readWide } from "./spellings.ts";

/** Bytes. Longer windows skip hardly more. */
const LONGEST_WINDOW = 32;

const NO_MATCH = -1;
const NO_ENDS: readonly number[] = [];

export interface Scanner {
  /** Bytes that may have to wait for the next ones. */
  readonly longestHold: number;
  /**
   * @param isLast no bytes follow. @param spans receives the start and end of each copy in turn; copies that overlap are one.
   * @returns where a copy begins that the next bytes may complete; the number of bytes where there is none.
   */
  scan(bytes: Buffer, isLast: boolean, spans: number[]): number;
}

/** @param secrets as they are injected, none of them empty. @returns undefined where there are none. */
export function createScanner(secrets: readonly string[]): Scanner | undefined {
  return secrets.length === 0 ? undefined : new SecretScanner(createNeedles(secrets));
}

class SecretScanner implements Scanner {
  readonly longestHold: number;
  readonly #needles: readonly Needle[];
  readonly #windowLength: number;
  readonly #pairs: PairFilter;
  /** The needles whose first byte this is. */
  readonly #startingWith: readonly (readonly Needle[] | undefined)[];
  readonly #hasWideStart: boolean;
  /** The readings of what begins at `#readAt`, for all needles. */
  readonly #readings: number[] = [];
  #readAt = -1;
  #isReadingCut = false;
  /** A copy from the current start on cannot be decided, because the bytes ended. */
  #isCut = false;

  constructor(needles: readonly Needle[]) {
    const lengths = needles.map(({ wanted }) => wanted.length);
    this.longestHold = Math.max(...lengths) * LONGEST_SPELLING;
    this.#needles = needles;
    this.#windowLength = Math.min(LONGEST_WINDOW, ...lengths);
    this.#pairs = createPairFilter(needles, this.#windowLength);
    this.#startingWith = Array.from({ length: 256 }, (_, value) => {
      const starting = needles.filter((needle) => accepts(needle, 0, value));
      return starting.length === 0 ? undefined : starting;
    });
    this.#hasWideStart = needles.some(({ wide }) => wide?.has(0));
  }

  scan(bytes: Buffer, isLast: boolean, spans: number[]): number {
    const length = this.#windowLength;
    const pairs = this.#pairs;
    this.#readAt = -1;
    let start = 0;
    // The pairs from `start` to here are in the filter.
    let known = 0;
    while (start + length <= bytes.length) {
      const last = start + length - 2;
      let at = last;
      for (; at >= known; at--) {
        const pair = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
        if ((((pairs[pair >>> 5] as number) >>> (pair & 31)) & 1) === 0) break;
      }
      if (at >= known) start = at + 1;
      else if (this.#visit(bytes, start, spans) && !isLast) return start;
      else start++;
      known = Math.max(start, last + 1);
    }
    for (; start < bytes.length; start++) if (this.#visit(bytes, start, spans) && !isLast) return start;
    return bytes.length;
  }

  /** Adds the copy that begins at `start`, if there is one. @returns true where the next bytes may make a copy, or a longer one. */
  #visit(bytes: Buffer, start: number, spans: number[]): boolean {
    const needles = this.#startingAt(bytes, start);
    if (needles === undefined) return false;
    let end = NO_MATCH;
    this.#isCut = false;
    for (const needle of needles) end = Math.max(end, this.#match(needle, bytes, start));
    if (end !== NO_MATCH) {
      const before = spans.length - 1;
      if (before > 0 && start <= (spans[before] as number)) spans[before] = Math.max(spans[before] as number, end);
      else spans.push(start, end);
    }
    return this.#isCut;
  }

  #startingAt(bytes: Buffer, start: number): readonly Needle[] | undefined {
    const first = bytes[start] as number;
    if (ESCAPES[first] === 0) return this.#startingWith[first];
    this.#read(bytes, start);
    if (this.#isReadingCut || this.#hasWideStart) return this.#needles;
    const readings = this.#readings;
    for (let i = 0; i < readings.length; i += 2) {
      if (this.#startingWith[readings[i] as number] !== undefined) return this.#needles;
    }
    return undefined;
  }

  /** @returns the end of the longest copy that begins at `start`. */
  #match(needle: Needle, bytes: Buffer, start: number): number {
    const { codes, masks, wanted } = needle;
    if (needle.wide !== undefined) return this.#matchReadings(needle, bytes, [start], 0);
    let at = start;
    for (let unit = 0; unit < wanted.length; unit++) {
      if (at >= bytes.length) {
        this.#isCut = true;
        return NO_MATCH;
      }
      const value = bytes[at] as number;
      if (ESCAPES[value] === 1) {
        const ends = this.#endsOf(needle, unit, bytes, at);
        if (ends.length === 0) return NO_MATCH;
        if (ends.length > 1) return this.#matchReadings(needle, bytes, ends, unit + 1);
        at = ends[0] as number;
      } else {
        if (((codes[value] as number) & (masks[unit] as number)) !== wanted[unit]) return NO_MATCH;
        at++;
      }
    }
    return at;
  }

  /** Follows several readings of the bytes at once. @param positions where the unit `first` may begin. */
  #matchReadings(needle: Needle, bytes: Buffer, positions: readonly number[], first: number): number {
    const { wanted, wide } = needle;
    let current = positions;
    // By the unit that follows a character beyond ASCII.
    const later = new Map<number, number[]>();
    for (let unit = first; unit < wanted.length; unit++) {
      const next = later.get(unit + 1) ?? [];
      later.delete(unit + 1);
      const character = wide?.get(unit);
      const afterCharacter: number[] = [];
      for (const position of current) {
        if (position >= bytes.length) this.#isCut = true;
        else {
          for (const end of this.#endsOf(needle, unit, bytes, position)) if (!next.includes(end)) next.push(end);
          if (character !== undefined && readWide(bytes, position, character, afterCharacter)) this.#isCut = true;
        }
      }
      if (character !== undefined && afterCharacter.length > 0) later.set(unit + character.length, afterCharacter);
      if (next.length === 0 && later.size === 0) return NO_MATCH;
      current = next;
    }
    return current.length === 0 ? NO_MATCH : Math.max(...current);
  }

  /** Where the spellings end that begin at `at` and that the unit accepts. */
  #endsOf(needle: Needle, unit: number, bytes: Buffer, at: number): readonly number[] {
    this.#read(bytes, at);
    const readings = this.#readings;
    if (this.#isReadingCut && mayComplete(bytes.toString("latin1", at), needle, unit)) this.#isCut = true;
    let ends: number[] | undefined;
    for (let i = 0; i < readings.length; i += 2) {
      if (!accepts(needle, unit, readings[i] as number)) continue;
      ends ??= [];
      ends.push(readings[i + 1] as number);
    }
    return ends ?? NO_ENDS;
  }

  #read(bytes: Buffer, at: number): void {
    if (this.#readAt === at) return;
    this.#readAt = at;
    this.#readings.length = 0;
    this.#isReadingCut = readByte(bytes, at, this.#readings);
  }
}
