/**
 * Verifies JSON Web Tokens (RFC 7519, with the advice of RFC 8725).
 * Invariant: the algorithm is one of the source's own list and never chosen by the token alone; the key comes from the settings only,
 * whatever the token's header names (`jwk`, `jku`, `x5u`, `kid`); and a token for another issuer or audience costs no signature check and
 * no fetch.
 */
import { createSecretKey } from "node:crypto";
import {
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  type JWTVerifyResult,
  jwtVerify,
} from "jose";
import type { TokenSettings } from "../config/token-settings.ts";
import { isObject } from "../is-object.ts";
import { SharedBudget } from "../limits/shared-budget.ts";
import { createJwks, type Jwks, type JwksState, KeysUnavailable } from "./jwks.ts";
import { digestOf } from "./presented-keys.ts";
import { TokenCache } from "./token-cache.ts";
import { hasTokenForm, tokensIn } from "./token-form.ts";
import { CLOCK_TOLERANCE_S, callerIdOf, TokenKey } from "./token-key.ts";
import { TokenTenures } from "./token-tenures.ts";

/** Characters of a token; a longer one is refused before anything of it is read. */
export const TOKEN_LENGTH_LIMIT = 8 * 1_024;

const SECRET_ALGORITHMS = ["HS256", "HS384", "HS512"];
const PUBLIC_ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Verifications that may wait at the same time, for the issuer's keys or for a processor; half of them for one address. */
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
  /** @param address that sent it. */
  verify(token: string, address?: string): Promise<TokenVerdict>;
  /** Whether the token names this issuer and audience: it would open this gateway, and must not reach an upstream. Checks no signature. */
  isForGateway(text: string): boolean;
  /** True for a text with such a token anywhere in it. */
  isWithin(text: string): boolean;
  /** `callerDigest` of the caller that the token names, of which nothing is verified; undefined for a token that is not for this gateway. */
  claimedCaller(token: string): string | undefined;
  /** No token of it is accepted any longer. */
  close(): void;
  /** Undefined where tokens are signed with a secret. */
  readonly jwks: { check(): Promise<JwksState> } | undefined;
}

export interface TokenVerifierOptions {
  readonly settings: TokenSettings;
  /** Fetches the key set. @throws Error with a message that may be logged. */
  readonly fetchJson: (url: string) => Promise<unknown>;
  readonly report: (failure: string | undefined) => void;
  /** Called when verified tokens are over before their `exp`: a key was withdrawn, or the verifier was closed. */
  readonly onEnd?: () => void;
  /** Ms since the epoch. */
  readonly now?: () => number;
}

export function createTokenVerifier({
  settings,
  fetchJson,
  report,
  onEnd = () => {},
  now = Date.now,
}: TokenVerifierOptions): TokenVerifier {
  const { issuer, audiences, permissionsClaim, source } = settings;
  const cache = new TokenCache();
  /** Counts changes of the keys: a verdict from before one is not kept. */
  let changes = 0;
  const waiting = new SharedBudget(WAITING_LIMIT);
  const tenures = new TokenTenures();
  const onChange = (withdrawn?: readonly (string | undefined)[]) => {
    changes += 1;
    cache.clear();
    tenures.end(withdrawn);
    onEnd();
  };
  const jwks: Jwks | undefined =
    source.kind === "secret"
      ? undefined
      : createJwks({ fetchKeys: () => fetchJson(source.url), now, onChange, report });
  const secret = source.kind === "secret" ? createSecretKey(source.secret.reveal(), "utf8") : undefined;
  const getKey: JWTVerifyGetKey = jwks?.getKey ?? (async () => secret as NonNullable<typeof secret>);
  const algorithms = secret === undefined ? PUBLIC_ALGORITHMS : SECRET_ALGORITHMS;

  /** Of a token for this gateway. */
  function claimsFor(text: string): JWTPayload | undefined {
    if (text.length > TOKEN_LENGTH_LIMIT || !hasTokenForm(text)) return undefined;
    const claims = claimsOf(text);
    if (claims?.iss !== issuer) return undefined;
    return [claims.aud].flat().some((each) => audiences.includes(each as string)) ? claims : undefined;
  }

  const isForGateway = (text: string) => claimsFor(text) !== undefined;

  return {
    jwks,
    isForGateway,
    isWithin: (text) => tokensIn(text).some(isForGateway),
    claimedCaller(token) {
      const claims = claimsFor(token);
      return claims && digestOf(callerIdOf(claims));
    },
    close: () => onChange(),
    find: (digest) => cache.find(digest, now()),
    async verify(token, address = "") {
      if (!isForGateway(token)) return { state: "invalid", isGuess: true };
      try {
        if (!waiting.take(1, address)) return { state: "unavailable" };
        const before = changes;
        const { payload: claims, protectedHeader } = await verifySigned(token, getKey, {
          algorithms,
          issuer,
          audience: [...audiences],
          clockTolerance: CLOCK_TOLERANCE_S,
          requiredClaims: ["exp"],
          currentDate: new Date(now()),
        });
        const verified = { digest: digestOf(token), claims, tenure: tenures.of(jwks && protectedHeader.kid) };
        const key = new TokenKey(verified, permissionsClaim, now);
        if (before === changes) cache.add(key, now());
        return { state: "valid", key };
      } catch (error) {
        return verdictOf(error);
      } finally {
        waiting.release(1, address);
      }
    },
  };
}

async function verifySigned(
  token: string,
  getKey: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTVerifyResult> {
  try {
    return await jwtVerify(token, getKey, options);
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    let tried = 0;
    for await (const key of error) {
      if (tried++ >= TRIED_LIMIT) break;
      try {
        return await jwtVerify(token, key, options);
      } catch (refusal) {
        if (!(refusal instanceof errors.JWSSignatureVerificationFailed)) throw refusal;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

function verdictOf(error: unknown): TokenVerdict {
  if (error instanceof KeysUnavailable) return { state: "unavailable" };
  if (error instanceof errors.JWTExpired) return { state: "expired" };
  // The signature is checked before the claims. All that does not come from the token's own text is no guess.
  const isGuess = error instanceof errors.JOSEError && !(error instanceof errors.JWTClaimValidationFailed);
  return { state: "invalid", isGuess };
}

/** Without a check of any kind. */
function claimsOf(token: string): JWTPayload | undefined {
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
