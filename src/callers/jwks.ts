/**
 * The public keys of an issuer (RFC 7517), fetched when a token needs them.
 * Invariant: if the issuer cannot be reached, its last keys stay; one fetch runs at a time; and however many unknown keys tokens name,
 * the issuer is asked at most once per cooldown, and less often while it fails.
 */
import { createPublicKey, type JsonWebKey } from "node:crypto";
import { createLocalJWKSet, errors, type JWK, type JWTVerifyGetKey } from "jose";
import { isObject } from "../is-object.ts";

/** Keys of this age are fetched again before the next use, ms. */
const MAX_AGE_MS = 5 * 60_000;
/** Between two fetches because of an unknown key, ms. Other fetches do not count: a key that was just added is found at once. */
const COOLDOWN_MS = 10_000;
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 60_000;
const KEYS_LIMIT = 100;
/** Of an RSA key (RFC 7518 section 3.3). */
const LEAST_RSA_BITS = 2_048;

/** An issuer's key is not available: the token can be neither accepted nor refused. */
export class KeysUnavailable extends Error {}

/** The key may be newer than the last fetch, and it is too early for another one. */
export class KeyPossiblyNew extends Error {}

export interface Jwks {
  readonly getKey: JWTVerifyGetKey;
  /** Fetches the keys if there are none or they are old. */
  check(): Promise<JwksState>;
}

export interface JwksState {
  readonly keys: number;
  /** Keys of the last set that cannot verify a token. */
  readonly unusable: number;
  /** Ms since the epoch; undefined before the first success. */
  readonly fetchedAt: number | undefined;
  /** Of the last fetch; undefined if it succeeded. */
  readonly failure: string | undefined;
}

export interface JwksOptions {
  /** @throws Error with a message that may be logged. */
  readonly fetchKeys: () => Promise<unknown>;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** Called when the keys are others than before. @param withdrawn `kid` of each key that is no longer there. */
  readonly onChange: (withdrawn: readonly (string | undefined)[]) => void;
  /** Called for the first failure after a success, and for the first success after a failure. */
  readonly report: (failure: string | undefined) => void;
}

export function createJwks({ fetchKeys, now, onChange, report }: JwksOptions): Jwks {
  let current:
    | (Pick<KeySet, "keys"> & { readonly find: JWTVerifyGetKey; readonly texts: readonly string[] })
    | undefined;
  let unusable = 0;
  let fetchedAt: number | undefined;
  let failures = 0;
  let failure: string | undefined;
  /** No fetch before this time. */
  let nextAt = Number.NEGATIVE_INFINITY;
  let pending: Promise<void> | undefined;
  /** The last fetch because of an unknown key. */
  let soughtAt = Number.NEGATIVE_INFINITY;

  async function load(): Promise<void> {
    try {
      const set = publicKeysIn(await fetchKeys());
      unusable = set.unusable;
      const texts = set.keys.map((key) => JSON.stringify(key));
      const before = current;
      if (before?.texts.join() !== texts.join())
        current = { keys: set.keys, find: createLocalJWKSet({ keys: [...set.keys] }), texts };
      if (failures > 0) report(undefined);
      [fetchedAt, failures, failure, nextAt] = [now(), 0, undefined, now()];
      if (before === undefined || before === current) return;
      onChange(before.keys.filter((_, i) => !texts.includes(before.texts[i] as string)).map(({ kid }) => kid));
    } catch (error) {
      failure = error instanceof Error ? error.message : "unknown";
      if (failures === 0) report(failure);
      nextAt = now() + Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** failures);
      failures = Math.min(failures + 1, 16);
    }
  }

  /** Waits for a fetch that runs, or starts one if it is not too early. */
  function refresh(): Promise<void> | undefined {
    if (pending === undefined && isBefore(nextAt)) return undefined;
    pending ??= load().finally(() => {
      pending = undefined;
    });
    return pending;
  }

  // A clock that was set back must not delay a fetch for longer than any backoff.
  const isBefore = (time: number) => now() < time && time - now() <= LONGEST_BACKOFF_MS;
  const isRecent = (time: number, withinMs: number) => Math.abs(now() - time) < withinMs;
  const isOlderThan = (ageMs: number) => fetchedAt === undefined || !isRecent(fetchedAt, ageMs);

  return {
    async getKey(header, token) {
      const refreshed = isOlderThan(MAX_AGE_MS) ? refresh() : undefined;
      if (refreshed !== undefined) await refreshed;
      if (current === undefined) throw new KeysUnavailable();
      try {
        return await current.find(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        if (refreshed === undefined && failures === 0) {
          if (pending === undefined && isRecent(soughtAt, COOLDOWN_MS)) throw new KeyPossiblyNew();
          if (pending === undefined) soughtAt = now();
          await refresh();
        }
        if (failures > 0) throw new KeysUnavailable();
        return current.find(header, token);
      }
    },
    async check() {
      if (isOlderThan(MAX_AGE_MS)) await refresh();
      return { keys: current?.keys.length ?? 0, unusable, fetchedAt, failure };
    },
  };
}

interface KeySet {
  readonly keys: readonly JWK[];
  /** Left out. */
  readonly unusable: number;
}

/** Symmetric keys are no keys of a set that anyone can read, and private ones were published by mistake. @throws Error */
function publicKeysIn(document: unknown): KeySet {
  const list = isObject(document) && Array.isArray(document.keys) ? document.keys : undefined;
  if (list === undefined) throw new Error("the response is not a JSON Web Key Set");
  const ofSignatures = list.slice(0, KEYS_LIMIT).filter((key) => !isObject(key) || key.use !== "enc");
  const keys = ofSignatures.filter(isPublicKey);
  if (keys.length === 0) throw new Error("the response has no public key for signatures");
  return { keys, unusable: ofSignatures.length - keys.length };
}

/** A token of any other key would look forged. */
function isPublicKey(key: unknown): key is JWK {
  if (!isObject(key) || typeof key.kty !== "string") return false;
  if (!["RSA", "EC", "OKP"].includes(key.kty) || key.d !== undefined) return false;
  try {
    const { asymmetricKeyDetails: details } = createPublicKey({ key: key as JsonWebKey, format: "jwk" });
    return key.kty !== "RSA" || (details?.modulusLength ?? 0) >= LEAST_RSA_BITS;
  } catch {
    return false;
  }
}
