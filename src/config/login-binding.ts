/**
 * What a login belongs to: a token is never sent to other origins, another endpoint or for another client than those it was obtained for.
 * Invariant: a running gateway and a command without one make the same text.
 */
import type { AuthDefinition } from "./auth-schema.ts";
import { type CredentialSource, secretTexts } from "./credential-source.ts";
import { endOfJwt } from "./jwt-end.ts";
import { originsOf } from "./secret-lock.ts";

export interface LoginService {
  readonly key: string;
  readonly auth: AuthDefinition;
  readonly baseUrl: string;
  readonly versionedBaseUrls: Readonly<Record<string, string>>;
}

/** Two services with the same client may be for two accounts, so each has its own login. @param secrets by name: `clientId`, where a variable holds it. */
export function loginBinding(service: LoginService, secrets: ReadonlyMap<string, string>): string {
  const { auth } = service;
  const { issuer, tokenUrl = issuer, clientId = secrets.get("clientId") } = auth;
  return JSON.stringify(["login", service.key, [...originsOf(service)].sort(), tokenUrl, clientId]);
}

/** Of a credential whose refresh token comes from a login: the other secrets by name; undefined while one of them is missing. */
export function textsBesideLogin(credential: CredentialSource): ReadonlyMap<string, string> | undefined {
  const others = credential.secrets.filter(({ login }) => !login);
  if (credential.withheld !== undefined) return undefined;
  return others.length === 0 ? new Map() : secretTexts({ ...credential, secrets: others });
}

/** Characters that servers accept in a form or a header. */
const TOKEN_LENGTH_LIMIT = 16_384;

/** What the token would have to be; undefined if it can be used. RFC 6749 appendix A.17, RFC 6750 section 2.1. */
export function unusableLogin(token: string, isAccessToken: boolean): string | undefined {
  if (token === "" || token.length > TOKEN_LENGTH_LIMIT) return `a token of 1 to ${TOKEN_LENGTH_LIMIT} characters`;
  // Nothing could renew it.
  if (isAccessToken && endOfJwt(token) !== undefined) return "an access token that does not expire";
  const allowed = isAccessToken ? /^[\x21-\x7e]+$/ : /^[\x20-\x7e]+$/;
  return allowed.test(token) ? undefined : "a token of printable ASCII characters";
}
