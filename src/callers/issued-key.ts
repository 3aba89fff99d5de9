/**
 * The text of an issued key: `bp_`, 30 random letters and digits, and a checksum of both, by which secret scanners tell a key from
 * what only looks like one. Invariant: letters and digits only, so that a double click selects all of it; what is kept is its digest.
 */
import { hash, randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";

const PREFIX = "bp_";
/** 178 bits. */
const RANDOM_LENGTH = 30;
/** 62^6 is more than 2^32. */
const CHECKSUM_LENGTH = 6;
const CHECKED_LENGTH = PREFIX.length + RANDOM_LENGTH;
const KEY_LENGTH = CHECKED_LENGTH + CHECKSUM_LENGTH;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** Bytes from here on would make some letters likelier than others. */
const FAIR_BYTES = 256 - (256 % ALPHABET.length);

export function createIssuedKey(): string {
  const checked = PREFIX + randomBase62(RANDOM_LENGTH);
  return checked + checksumOf(checked);
}

/** True for all that were ever issued, and for about one in four billion texts of that look. */
export function hasIssuedForm(text: string): boolean {
  if (text.length !== KEY_LENGTH || !text.startsWith(PREFIX)) return false;
  const checked = text.slice(0, CHECKED_LENGTH);
  return /^bp_[0-9A-Za-z]+$/.test(text) && text.slice(CHECKED_LENGTH) === checksumOf(checked);
}

/** True for what begins as an issued key and cannot be one: cut short, mistyped, or with more around its end. */
export function isMisspelt(text: string): boolean {
  return text.startsWith(PREFIX) && !hasIssuedForm(text);
}

/** Of any key, hex. A key is random enough for a plain hash. */
export function digestOf(key: string): string {
  return hash("sha256", key, "hex");
}

export function randomBase62(length: number): string {
  let text = "";
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      if (byte < FAIR_BYTES && text.length < length) text += ALPHABET[byte % ALPHABET.length];
    }
  }
  return text;
}

function checksumOf(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let i = 0; i < CHECKSUM_LENGTH; i++) {
    digits = (ALPHABET[rest % ALPHABET.length] as string) + digits;
    rest = Math.floor(rest / ALPHABET.length);
  }
  return digits;
}
