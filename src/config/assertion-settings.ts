/**
 * What the gateway signs for a credential, and with which key: the members of `auth`, completed by the key file.
 * Invariant: a key that does not fit its algorithm is a problem at start.
 */
import type { AuthDefinition } from "./auth-schema.ts";
import { isEndpoint } from "./login-schema.ts";
import { ISSUER_FORM, isIssuer } from "./oauth2-schema.ts";
import { readSigningKey, type SigningKey, type UnusableKey } from "./signing-key.ts";

/** Of type `oauth2` with `keyFile`. */
export interface AssertionSettings {
  readonly signingKey: SigningKey;
  /** Undefined where the metadata of `issuer` name it. */
  readonly tokenUrl: string | undefined;
  /** Of the grant `jwt_bearer`. */
  readonly grant: { readonly issuer: string; readonly subject: string | undefined };
  /** Of the client's own assertion; undefined for its identifier. */
  readonly clientIssuer: string | undefined;
  /** Undefined for the token endpoint, or the issuer of the metadata. */
  readonly audience: string | undefined;
}

/** @param key as it is written. @param clientId undefined where it is not known yet. */
export function readAssertionSettings(
  auth: AuthDefinition,
  key: string,
  clientId: string | undefined,
): AssertionSettings | UnusableKey {
  const signingKey = readSigningKey(key, auth.algorithm);
  if ("allowed" in signingKey) return signingKey;
  const { account } = signingKey;
  const tokenUrl = auth.tokenUrl ?? account?.tokenUrl;
  if (tokenUrl !== undefined && !isEndpoint(tokenUrl)) {
    return { allowed: "a key file whose token_uri is an http:// or https:// URL" };
  }
  if (tokenUrl === undefined) {
    if (auth.issuer === undefined) return { allowed: "a key file with token_uri, or tokenUrl or issuer in auth" };
    if (!isIssuer(auth.issuer))
      return { allowed: `a key file with token_uri, or an issuer in auth that is ${ISSUER_FORM}` };
  }
  // Without a token endpoint, `issuer` names the authorization server.
  const named = tokenUrl === undefined ? undefined : auth.issuer;
  const isGrant = auth.grant === "jwt_bearer";
  const issuer = named ?? account?.email ?? clientId;
  if (isGrant && issuer === undefined) {
    return { allowed: `a key file with client_email, or ${tokenUrl === undefined ? "clientId" : "issuer"} in auth` };
  }
  // A Google service account acts for itself where no subject is named; RFC 7523 section 3 wants one everywhere else.
  const subject = auth.subject ?? (account === undefined ? issuer : undefined);
  return {
    signingKey,
    tokenUrl,
    grant: { issuer: issuer ?? "", subject },
    clientIssuer: isGrant ? undefined : named,
    audience: auth.assertionAudience,
  };
}

/** A GitHub App signs with RS256. */
export const readAppKey = (key: string) => readSigningKey(key, "RS256");

/** What the key would have to be; undefined if it can be used. */
export function unusableKey(auth: AuthDefinition, key: string): string | undefined {
  // What the variable holds makes no difference here.
  const clientId = auth.clientId ?? auth.clientIdEnvVar;
  const read = auth.type === "github-app" ? readAppKey(key) : readAssertionSettings(auth, key, clientId);
  return "allowed" in read ? read.allowed : undefined;
}

/** Where the client's secrets are sent; undefined for a credential whose secrets are sent to the upstream, or not known yet. */
export function tokenUrlOf(auth: AuthDefinition, key: string | undefined): string | undefined {
  if (auth.tokenUrl !== undefined || key === undefined || auth.type !== "oauth2") return auth.tokenUrl;
  const settings = readAssertionSettings(auth, key, "");
  return "allowed" in settings ? undefined : settings.tokenUrl;
}
