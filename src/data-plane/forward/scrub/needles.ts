/**
 * What a search for secrets compares: each secret as its bytes, and as the base64 characters that it determines.
 * Invariant: a needle has one unit for each byte of its plainest spelling, so a match is never shorter than its number of units.
 */
import { CODE_OF_CHARACTER, SEXTETS } from "./character-tables.ts";

/** Unit k accepts byte v if `(codes[v] & masks[k]) === wanted[k]`. */
export interface Needle {
  /** What a byte stands for: itself, or the six bits of a base64 character. */
  readonly codes: Uint8Array;
  readonly masks: Uint8Array;
  readonly wanted: Uint8Array;
  /** Characters beyond ASCII, by the unit that they begin at: JSON escapes them as a whole. Undefined where there is none. */
  readonly wide: ReadonlyMap<number, WideCharacter> | undefined;
}

export interface WideCharacter {
  /** Number of units. */
  readonly length: number;
  /** UTF-16. */
  readonly codeUnits: readonly number[];
}

/** @param secrets as they are injected. Each needle once. */
export function createNeedles(secrets: readonly string[]): Needle[] {
  const needles = new Map<string, Needle>();
  const add = (needle: Needle) => {
    const key = `${needle.codes === SEXTETS} ${needle.masks} ${needle.wanted}`;
    if (needle.wide !== undefined || !needles.has(key)) needles.set(key, needle);
  };
  for (const secret of secrets) {
    const utf8 = Buffer.from(secret, "utf8");
    add(bytesNeedle(utf8, wideCharacters(secret)));
    base64Needles(utf8).forEach(add);
    // Some clients and servers read and write credentials in Latin-1.
    if (!isLatin1Only(secret)) continue;
    const latin1 = Buffer.from(secret, "latin1");
    add(bytesNeedle(latin1, undefined));
    base64Needles(latin1).forEach(add);
  }
  return [...needles.values()];
}

export function accepts(needle: Needle, unit: number, value: number): boolean {
  return value < 256 && ((needle.codes[value] as number) & (needle.masks[unit] as number)) === needle.wanted[unit];
}

/** The bytes that a unit accepts. */
export function acceptedBytes(needle: Needle, unit: number): number[] {
  const accepted: number[] = [];
  for (let value = 0; value < 256; value++) if (accepts(needle, unit, value)) accepted.push(value);
  return accepted;
}

function bytesNeedle(bytes: Buffer, wide: Needle["wide"]): Needle {
  return {
    codes: CODE_OF_CHARACTER,
    masks: new Uint8Array(bytes.length).fill(0xff),
    wanted: Uint8Array.from(bytes),
    wide,
  };
}

/**
 * One for each position of the secret within the groups of three bytes. The characters at its ends hold bits of the bytes
 * beside it, too, so only the bits of the secret are compared.
 */
function base64Needles(bytes: Buffer): Needle[] {
  return [0, 1, 2].map((offset) => {
    const firstBit = offset * 8;
    const endBit = firstBit + bytes.length * 8;
    const first = Math.floor(firstBit / 6);
    const length = Math.ceil(endBit / 6) - first;
    const masks = new Uint8Array(length);
    const wanted = new Uint8Array(length);
    const bitOf = (bit: number) => {
      const byte = bytes[Math.floor((bit - firstBit) / 8)] as number;
      return (byte >> (7 - ((bit - firstBit) % 8))) & 1;
    };
    for (let k = 0; k < length; k++) {
      // The seventh bit: it is a base64 character at all.
      let [mask, value] = [1, 1];
      for (let bit = (first + k) * 6; bit < (first + k + 1) * 6; bit++) {
        const isOfSecret = bit >= firstBit && bit < endBit;
        mask = (mask << 1) | (isOfSecret ? 1 : 0);
        value = (value << 1) | (isOfSecret ? bitOf(bit) : 0);
      }
      masks[k] = mask;
      wanted[k] = value;
    }
    return { codes: SEXTETS, masks, wanted, wide: undefined };
  });
}

function wideCharacters(secret: string): Needle["wide"] {
  const wide = new Map<number, WideCharacter>();
  let unit = 0;
  for (const character of secret) {
    const length = Buffer.byteLength(character);
    if (length > 1) {
      const codeUnits = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
      wide.set(unit, { length, codeUnits });
    }
    unit += length;
  }
  return wide.size === 0 ? undefined : wide;
}

function isLatin1Only(secret: string): boolean {
  return Buffer.from(secret, "latin1").toString("latin1") === secret;
}
