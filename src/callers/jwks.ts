/**
 * The public keys of an issuer (RFC 7517), fetched when a token needs them.
 * Invariant: if the issuer cannot be reached, its last keys stay; one fetch runs at a time; and however many unknown keys tokens name,
 * the issuer is asked at most once per cooldown, and less often while it fails.
 */
import { createLocalJWKSet, errors, type JWK, type JWTVerifyGetKey } from "jose";
import { isObject } from "../is-object.ts";

/** Keys of this age are fetched again before the next use, ms. */
const MAX_AGE_MS = 5 * 60_000;
/** Between two fetches because of an unknown key, ms. */
const COOLDOWN_MS = 30_000;
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 60_000;
const KEYS_LIMIT = 100;

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
  /** Called when the keys are others than before. */
  readonly onChange: () => void;
  /** Called for the first failure after a success, and for the first success after a failure. */
  readonly report: (failure: string | undefined) => void;
}

export function createJwks({ fetchKeys, now, onChange, report }: JwksOptions): Jwks {
  let current: { readonly find: JWTVerifyGetKey; readonly text: string; readonly count: number } | undefined;
  let fetchedAt: number | undefined;
  let failures = 0;
  let failure: string | undefined;
  /** No fetch before this time. */
  let nextAt = Number.NEGATIVE_INFINITY;
  let pending: Promise<void> | undefined;

  async function load(): Promise<void> {
    try {
      const keys = publicKeysIn(await fetchKeys());
      const text = JSON.stringify(keys);
      const before = current;
      if (before?.text !== text) current = { find: createLocalJWKSet({ keys: [...keys] }), text, count: keys.length };
      if (failures > 0) report(undefined);
      [fetchedAt, failures, failure, nextAt] = [now(), 0, undefined, now()];
      if (before !== undefined && before !== current) onChange();
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
  const isOlderThan = (ageMs: number) => fetchedAt === undefined || Math.abs(now() - fetchedAt) >= ageMs;

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
          if (pending === undefined && !isOlderThan(COOLDOWN_MS)) throw new KeyPossiblyNew();
          await refresh();
        }
        if (failures > 0) throw new KeysUnavailable();
        return current.find(header, token);
      }
    },
    async check() {
      if (isOlderThan(MAX_AGE_MS)) await refresh();
      return { keys: current?.count ?? 0, fetchedAt, failure };
    },
  };
}

/** Symmetric keys are no keys of a set that anyone can read, and private ones were published by mistake. @throws Error */
function publicKeysIn(document: unknown): readonly JWK[] {
  const list = isObject(document) && Array.isArray(document.keys) ? document.keys : undefined;
  if (list === undefined) throw new Error("the response is not a JSON Web Key Set");
  const keys = list.slice(0, KEYS_LIMIT).filter(isPublicKey);
  if (keys.length === 0) throw new Error("the response has no public key for signatures");
  return keys;
}

function isPublicKey(key: unknown): key is JWK {
  if (!isObject(key) || typeof key.kty !== "string") return false;
  return ["RSA", "EC", "OKP"].includes(key.kty) && key.use !== "enc" && key.d === undefined;
}
