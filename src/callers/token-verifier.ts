/**
 * Verifies JSON Web Tokens (RFC 7519, with the advice of RFC 8725).
 * Invariant: the algorithm is one of the source's own list and never chosen by the token alone; the key comes from the settings only,
 * whatever the token's header names (`jwk`, `jku`, `x5u`, `kid`); and a token for another issuer or audience costs no signature check and
 * no fetch.
 */
import { createSecretKey } from "node:crypto";
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { TokenSettings } from "../config/token-settings.ts";
import { isObject } from "../is-object.ts";
import { createJwks, type Jwks, type JwksState, KeyPossiblyNew, KeysUnavailable } from "./jwks.ts";
import { digestOf } from "./presented-keys.ts";
import { TokenCache } from "./token-cache.ts";
import { CLOCK_TOLERANCE_S, TokenKey } from "./token-key.ts";

/** Characters of a token; a longer one is refused before anything of it is read. */
export const TOKEN_LENGTH_LIMIT = 8 * 1_024;

const SECRET_ALGORITHMS = ["HS256", "HS384", "HS512"];
const PUBLIC_ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Verifications that may wait at the same time, for the issuer's keys or for a processor. */
const WAITING_LIMIT = 1_000;
/** Keys that are tried for a token without `kid`. */
const TRIED_LIMIT = 8;

export type TokenVerdict =
  | { readonly state: "valid"; readonly key: TokenKey }
  /** Signed by the issuer, for this gateway. */
  | { readonly state: "expired" }
  /** `isGuess`: it may be an attempt to forge one. */
  | { readonly state: "invalid"; readonly isGuess: boolean }
  /** The keys of the issuer cannot be fetched. */
  | { readonly state: "unavailable" };

export interface TokenVerifier {
  /** From memory; undefined for a token that has to be verified. @param digest of the token. */
  find(digest: string): TokenKey | undefined;
  verify(token: string): Promise<TokenVerdict>;
  /** Whether the token names this issuer and audience: it would open this gateway, and must not reach an upstream. Checks no signature. */
  isForGateway(text: string): boolean;
  /** Undefined where tokens are signed with a secret. */
  readonly jwks: { check(): Promise<JwksState> } | undefined;
}

export interface TokenVerifierOptions {
  readonly settings: TokenSettings;
  /** Fetches the key set. @throws Error with a message that may be logged. */
  readonly fetchJson: (url: string) => Promise<unknown>;
  readonly report: (failure: string | undefined) => void;
  /** Ms since the epoch. */
  readonly now?: () => number;
}

/** True for the form of a signed token, whatever it contains. The first part of each begins with `{"`. */
export function hasTokenForm(text: string): boolean {
  return text.startsWith("eyJ") && /^[\w-]+\.[\w-]+\.[\w-]*$/.test(text);
}

const IN_TEXT = /eyJ[\w-]{5,}\.eyJ[\w-]{5,}\.[\w-]+/g;

/** Masks tokens that callers put in a path, a name or an id by mistake. They are recognized by their form alone. */
export function maskTokens(text: string): string {
  return text.includes("eyJ") ? text.replace(IN_TEXT, "***") : text;
}

export function createTokenVerifier({
  settings,
  fetchJson,
  report,
  now = Date.now,
}: TokenVerifierOptions): TokenVerifier {
  const { issuer, audiences, permissionsClaim, source } = settings;
  const cache = new TokenCache();
  /** Counts changes of the keys: a verdict from before one is not kept. */
  let changes = 0;
  let waiting = 0;
  const onChange = () => {
    changes += 1;
    cache.clear();
  };
  const jwks: Jwks | undefined =
    source.kind === "secret"
      ? undefined
      : createJwks({ fetchKeys: () => fetchJson(source.url), now, onChange, report });
  const secret = source.kind === "secret" ? createSecretKey(source.secret.reveal(), "utf8") : undefined;
  const getKey: JWTVerifyGetKey = jwks?.getKey ?? (async () => secret as NonNullable<typeof secret>);
  const algorithms = secret === undefined ? PUBLIC_ALGORITHMS : SECRET_ALGORITHMS;

  async function read(token: string): Promise<JWTPayload> {
    const options = {
      algorithms,
      issuer,
      audience: [...audiences],
      clockTolerance: CLOCK_TOLERANCE_S,
      requiredClaims: ["exp"],
      currentDate: new Date(now()),
    };
    try {
      return (await jwtVerify(token, getKey, options)).payload;
    } catch (error) {
      if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
      let tried = 0;
      for await (const key of error) {
        if (tried++ >= TRIED_LIMIT) break;
        try {
          return (await jwtVerify(token, key, options)).payload;
        } catch (refusal) {
          if (!(refusal instanceof errors.JWSSignatureVerificationFailed)) throw refusal;
        }
      }
      throw new errors.JWSSignatureVerificationFailed();
    }
  }

  function isForGateway(text: string): boolean {
    if (text.length > TOKEN_LENGTH_LIMIT || !hasTokenForm(text)) return false;
    const claims = claimsOf(text);
    if (claims?.iss !== issuer) return false;
    return [claims.aud].flat().some((each) => audiences.includes(each as string));
  }

  return {
    jwks,
    isForGateway,
    find: (digest) => cache.find(digest, now()),
    async verify(token) {
      if (!isForGateway(token)) return { state: "invalid", isGuess: true };
      if (waiting >= WAITING_LIMIT) return { state: "unavailable" };
      waiting += 1;
      try {
        const before = changes;
        const payload = await read(token);
        const key = new TokenKey(digestOf(token), payload, permissionsClaim, now);
        if (before === changes) cache.add(key, now());
        return { state: "valid", key };
      } catch (error) {
        return verdictOf(error);
      } finally {
        waiting -= 1;
      }
    },
  };
}

function verdictOf(error: unknown): TokenVerdict {
  if (error instanceof KeysUnavailable) return { state: "unavailable" };
  if (error instanceof errors.JWTExpired) return { state: "expired" };
  // The signature is checked before the claims.
  const isSigned = error instanceof errors.JWTClaimValidationFailed;
  return { state: "invalid", isGuess: !isSigned && !(error instanceof KeyPossiblyNew) };
}

/** Without a check of any kind. */
function claimsOf(token: string): Readonly<Record<string, unknown>> | undefined {
  const start = token.indexOf(".") + 1;
  try {
    const claims: unknown = JSON.parse(
      Buffer.from(token.slice(start, token.indexOf(".", start)), "base64url").toString(),
    );
    return isObject(claims) ? claims : undefined;
  } catch {
    return undefined;
  }
}
