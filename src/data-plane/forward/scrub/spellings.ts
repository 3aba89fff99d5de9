/**
 * Reads one byte of a text in all of its spellings: raw, percent-encoded, escaped as in JSON and JavaScript, or as in HTML.
 * Invariant: it reads in place and decodes nothing else, so a text that mixes spellings is read as well as a uniform one.
 */
import { AMPERSAND, BACKSLASH, ENTITIES, HEX, PERCENT, PLUS, SPACE, UNESCAPED } from "./character-tables.ts";
import { acceptedBytes, accepts, type Needle, type WideCharacter } from "./needles.ts";

/** `%25252541` is A. */
const PERCENT_LEVELS = 6;
/** JSON within JSON within JSON: a backslash is eight. */
const BACKSLASHES = 8;
/** `#x0041;`, with up to two zeros. */
const ENTITY_LENGTH = 8;

/** Bytes of the longest spelling of a byte: `\\\\\\\\u0041`, `%252525252541`. */
export const LONGEST_SPELLING = 13;

const NO_DIGIT = 255;
const LETTER_U = 0x75;
const LETTER_X = 0x78;
const ENTITY_STARTS = [..."#algq"].map((character) => character.charCodeAt(0));

/**
 * Adds each reading of what begins at `at`: the byte, and the position after it.
 * @param at less than the number of bytes.
 * @returns whether the bytes end inside of what may become a spelling.
 */
export function readByte(bytes: Buffer, at: number, readings: number[]): boolean {
  const first = bytes[at] as number;
  readings.push(first, at + 1);
  if (first === PERCENT) return readPercent(bytes, at + 1, readings);
  if (first === BACKSLASH) return readBackslash(bytes, at, readings);
  if (first === AMPERSAND) return readEntity(bytes, at + 1, readings);
  if (first === PLUS) readings.push(SPACE, at + 1);
  return false;
}

function readPercent(bytes: Buffer, from: number, readings: number[]): boolean {
  let at = from;
  for (let level = 1; level <= PERCENT_LEVELS; level++) {
    const value = readHex(bytes, at, at + 2);
    if (value === undefined) return at + 2 > bytes.length;
    at += 2;
    readings.push(value, at);
    if (value !== PERCENT) return false;
  }
  return false;
}

function readBackslash(bytes: Buffer, at: number, readings: number[]): boolean {
  const end = skipBackslashes(bytes, at);
  for (let length = 2; length <= end - at; length *= 2) readings.push(BACKSLASH, at + length);
  if (end >= bytes.length) return true;
  const letter = bytes[end] as number;
  if (letter === LETTER_U || letter === LETTER_X) {
    const after = end + (letter === LETTER_U ? 5 : 3);
    const value = readHex(bytes, end + 1, after);
    if (value === undefined) return after > bytes.length;
    readings.push(value, after);
  } else if (UNESCAPED[letter] !== 0) readings.push(UNESCAPED[letter] as number, end + 1);
  return false;
}

function readEntity(bytes: Buffer, at: number, readings: number[]): boolean {
  if (at < bytes.length && !ENTITY_STARTS.includes(bytes[at] as number)) return false;
  const text = bytes.toString("latin1", at, at + ENTITY_LENGTH);
  const length = text.indexOf(";");
  if (length < 0) return at + ENTITY_LENGTH > bytes.length;
  const value = entityValue(text.slice(0, length));
  if (value !== undefined) readings.push(value, at + length + 1);
  return false;
}

/** @returns undefined where one of the bytes is missing or is no digit. */
function readHex(bytes: Buffer, from: number, to: number): number | undefined {
  let value = 0;
  for (let at = from; at < to; at++) {
    const digit = at < bytes.length ? (HEX[bytes[at] as number] as number) : NO_DIGIT;
    if (digit === NO_DIGIT) return undefined;
    value = value * 16 + digit;
  }
  return value;
}

/** The same for a character beyond ASCII as JSON escapes it: one or two of `\uXXXX`. */
export function readWide(bytes: Buffer, at: number, { codeUnits }: WideCharacter, ends: number[]): boolean {
  let position = at;
  for (const codeUnit of codeUnits) {
    const letter = skipBackslashes(bytes, position);
    if (letter >= bytes.length) return true;
    if (letter === position || bytes[letter] !== LETTER_U) return false;
    const wanted = codeUnit.toString(16).padStart(4, "0");
    const found = bytes.toString("latin1", letter + 1, letter + 5).toLowerCase();
    if (!wanted.startsWith(found)) return false;
    if (found.length < 4) return true;
    position = letter + 5;
  }
  ends.push(position);
  return false;
}

/** @returns the position after the first backslashes, at most eight. */
function skipBackslashes(bytes: Buffer, at: number): number {
  const limit = Math.min(bytes.length, at + BACKSLASHES);
  let end = at;
  while (end < limit && bytes[end] === BACKSLASH) end++;
  return end;
}

const CUT_SPELLING = /^(?:%(?:25){0,5}([0-9a-f])?|\\{1,8}(?:u0?|u00([0-9a-f])?|x([0-9a-f])?)?)$/i;

/** Whether more bytes can make the cut spelling one of a byte that the unit accepts. @param text up to the end of the bytes. */
export function mayComplete(text: string, needle: Needle, unit: number): boolean {
  if (text.startsWith("&")) {
    return acceptedBytes(needle, unit).some((value) =>
      entityNames(value).some((name) => name.startsWith(text.slice(1))),
    );
  }
  const match = CUT_SPELLING.exec(text);
  if (match === null) return false;
  const digit = match[1] ?? match[2] ?? match[3];
  if (digit === undefined) return true;
  // Another level of `%25` may follow, up to six.
  if (match[1] === "2" && text.length < 2 * PERCENT_LEVELS) return true;
  const high = Number.parseInt(digit, 16) * 16;
  for (let value = high; value < high + 16; value++) if (accepts(needle, unit, value)) return true;
  return false;
}

function entityValue(name: string): number | undefined {
  const [, decimal, hex] = /^#(?:0{0,2}([1-9][0-9]{0,2}|0)|[xX]0{0,2}([1-9a-fA-F][0-9a-fA-F]?|0))$/.exec(name) ?? [];
  if (decimal !== undefined) return Number(decimal);
  return hex === undefined ? ENTITIES.get(name) : Number.parseInt(hex, 16);
}

/** Without `&` and with `;`. */
export function entityNames(value: number): string[] {
  const hex = value.toString(16);
  const numbers = ["", "0", "00"].flatMap((zeros) => [
    `#${zeros}${value}`,
    ...hexSpellings(hex).flatMap((digits) => [`#x${zeros}${digits}`, `#X${zeros}${digits}`]),
  ]);
  const named = [...ENTITIES].filter(([, of]) => of === value).map(([name]) => name);
  return [...numbers, ...named].map((name) => `${name};`);
}

/** In each combination of cases. */
export function hexSpellings(digits: string): string[] {
  return [...digits].reduce<string[]>(
    (begun, digit) => [...new Set([digit, digit.toUpperCase()])].flatMap((one) => begun.map((text) => text + one)),
    [""],
  );
}
