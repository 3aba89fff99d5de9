/** An issued key as it is stored, by its id. Invariant: nothing in it, and nothing it is known by, is a part of the key. */
import { isObject } from "../is-object.ts";
import { randomBase62 } from "./issued-key.ts";

export interface StoredKey {
  readonly name: string;
  readonly permissions: readonly string[];
  /** ISO 8601, as all times here. */
  readonly createdAt: string;
  /** The id of the caller who made it. */
  readonly createdBy: string;
  readonly expiresAt: string | null;
  readonly revokedAt: string | null;
  readonly rateLimit: KeyRateLimit | null;
  /** Addresses and CIDRs; none of them is any address. */
  readonly allowIps: readonly string[];
  /** The present one first, then the one before the last rotation. */
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

export function newKeyId(): string {
  return `key_${randomBase62(12)}`;
}

/** Whether a permission or an address can be understood is asked where it is used: a newer gateway may have stored it. */
export function isStoredKey(value: unknown): value is StoredKey {
  if (!isObject(value)) return false;
  const { name, permissions, createdAt, createdBy, expiresAt, revokedAt, rateLimit, allowIps, digests } = value;
  return (
    isText(name) &&
    isText(createdBy) &&
    isListOf(permissions, isText) &&
    isListOf(allowIps, isText) &&
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

function isDigest(value: unknown): boolean {
  if (!isObject(value)) return false;
  return typeof value.sha256 === "string" && /^[0-9a-f]{64}$/.test(value.sha256) && isTimeOrNull(value.validUntil);
}

function isListOf(value: unknown, isItem: (item: unknown) => boolean): value is readonly unknown[] {
  return Array.isArray(value) && value.every(isItem);
}
