/**
 * An issued key: its text (`bp_`, 30 random letters and digits, and a checksum of both, by which secret scanners recognize a
 * key) and its stored record.
 * Invariant: the text has letters and digits only, so that a double click selects all of it; and the record and the id contain
 * no part of the text.
 */
import { randomBytes } from "node:crypto";
import { crc32 } from "node:zlib";
import { PERIODS, type TokenBudget } from "../config/token-budget.ts";
import { isObject } from "../is-object.ts";

export const ISSUED_PREFIX = "bp_";
/** 178 bits. */
const RANDOM_LENGTH = 30;
/** 62^6 is more than 2^32. */
const CHECKSUM_LENGTH = 6;
const CHECKED_LENGTH = ISSUED_PREFIX.length + RANDOM_LENGTH;
export const ISSUED_LENGTH = CHECKED_LENGTH + CHECKSUM_LENGTH;
const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/** Bytes from here on would make some letters more likely than others. */
const FAIR_BYTES = 256 - (256 % ALPHABET.length);

export function createIssuedKey(): string {
  const checked = ISSUED_PREFIX + randomBase62(RANDOM_LENGTH);
  return checked + checksumOf(checked);
}

export function createKeyId(): string {
  return `key_${randomBase62(12)}`;
}

/** True for every issued key, and for about one in four billion other texts of this form. */
export function hasIssuedForm(text: string): boolean {
  if (text.length !== ISSUED_LENGTH || !text.startsWith(ISSUED_PREFIX)) return false;
  const checked = text.slice(0, CHECKED_LENGTH);
  return /^bp_[0-9A-Za-z]+$/.test(text) && text.slice(CHECKED_LENGTH) === checksumOf(checked);
}

/** True for a text that begins as an issued key and cannot be one: cut short, mistyped, or with more text at its end. */
export function isMisspelt(text: string): boolean {
  return text.startsWith(ISSUED_PREFIX) && !hasIssuedForm(text);
}

/** Also a key that was cut or has more text at its end: anything that looks like half a key counts as one. */
const IN_TEXT = /bp(?:_|%5[Ff])[0-9A-Za-z]{16,}/g;

/** Masks keys that callers put in a path, a name or an id by mistake. They are recognized by their form alone. */
export function maskIssuedKeys(text: string): string {
  return text.includes("bp") ? text.replace(IN_TEXT, "***") : text;
}

function randomBase62(length: number): string {
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

/** The record of a key, stored under its id. Times are ISO 8601. */
export interface StoredKey {
  readonly name: string;
  readonly permissions: readonly string[];
  readonly createdAt: string;
  /** The id of the caller that made the key. */
  readonly createdBy: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly rateLimit: KeyRateLimit | null;
  /** Addresses and CIDRs; an empty list allows any address. */
  readonly allowIps: readonly string[];
  /** The client certificate that the key needs, as `parseClientCert` returns it; null, or absent in an older record, for none. */
  readonly clientCert?: string | null;
  /** Tokens of language models; null, or absent in an older record, for no budget. */
  readonly budget?: TokenBudget | null;
  /** Patterns for the models that its requests may ask for; null, or absent in an older record, for all. */
  readonly models?: readonly string[] | null;
  /** The current digest first, then the one before the last rotation. */
  readonly digests: readonly StoredDigest[];
}

export interface KeyRateLimit {
  readonly maxRequests: number;
  readonly windowMs: number;
}

export interface StoredDigest {
  /** Hex. */
  readonly sha256: string;
  /** Null: as long as the key. */
  readonly validUntil: string | null;
}

/** Permissions and addresses are checked where they are used, not here: a newer gateway may have stored others. */
export function isStoredKey(value: unknown): value is StoredKey {
  if (!isObject(value)) return false;
  const { name, permissions, createdAt, createdBy, expiresAt, revokedAt, rateLimit, allowIps, digests } = value;
  const { clientCert = null, budget = null, models = null } = value;
  return (
    isText(name) &&
    isText(createdBy) &&
    isListOf(permissions, isText) &&
    isListOf(allowIps, isText) &&
    (clientCert === null || isText(clientCert)) &&
    (budget === null || isBudget(budget)) &&
    (models === null || isListOf(models, isText)) &&
    isTime(createdAt) &&
    isTimeOrNull(expiresAt) &&
    isTimeOrNull(revokedAt) &&
    (rateLimit === null || isRateLimit(rateLimit)) &&
    isListOf(digests, isDigest) &&
    digests.length > 0
  );
}

const isText = (value: unknown) => typeof value === "string";
const isTime = (value: unknown) => typeof value === "string" && Number.isFinite(Date.parse(value));
const isTimeOrNull = (value: unknown) => value === null || isTime(value);
const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) > 0;
const isRateLimit = (value: unknown) => isObject(value) && isCount(value.maxRequests) && isCount(value.windowMs);
const isBudget = (value: unknown) =>
  isObject(value) && isCount(value.tokens) && (PERIODS as readonly unknown[]).includes(value.per);

function isDigest(value: unknown): boolean {
  if (!isObject(value)) return false;
  return typeof value.sha256 === "string" && /^[0-9a-f]{64}$/.test(value.sha256) && isTimeOrNull(value.validUntil);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): value is readonly unknown[] {
  return Array.isArray(value) && value.every(isItem);
}
