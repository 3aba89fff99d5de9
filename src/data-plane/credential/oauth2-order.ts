/** How the access tokens of a service of type `oauth2` are obtained. */
import { type AssertionSettings, readAssertionSettings } from "../../config/assertion-settings.ts";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { loginBinding } from "../../config/login-binding.ts";
import { originsOf } from "../../config/secret-lock.ts";
import { type AccessToken, checkAccessToken, TokenFailure } from "./access-token.ts";
import { endpointsOf } from "./discovery.ts";
import type { EndpointAccess } from "./endpoint-exchange.ts";
import type { MintedService } from "./minted-credential.ts";
import type { TokenOrder } from "./renewed-tokens.ts";
import type { RotatingToken } from "./rotating-token.ts";
import { fetchAccessToken } from "./token-endpoint.ts";

/** Turns a text into a name that does not reveal it. */
type NameSource = (text: string) => string;

/** @param secrets by name: `clientSecret`, `clientId`, `refreshToken`, `key`. */
export function orderOauth2Token(
  service: MintedService,
  secrets: ReadonlyMap<string, string>,
  { send, way }: EndpointAccess,
  nameSource: NameSource,
): TokenOrder {
  const { auth, key: serviceKey } = service;
  const { required: _, ...requested } = auth;
  const assertions = assertionsOf(auth, secrets);
  const tokenUrl = assertions?.tokenUrl ?? auth.tokenUrl;
  const endpoints = endpointsOf({ ...auth, tokenUrl }, send);
  const server = tokenUrl ?? auth.issuer;
  return {
    serviceKey,
    account: identityOfClient({ ...auth, tokenUrl: server }, secrets, assertions),
    shareKey: JSON.stringify([requested, [...secrets], way]),
    binding: bindingOf(service, server, secrets, nameSource),
    fetchToken: async (signal, rotating) =>
      tokenOfLogin(rotating) ??
      (await fetchAccessToken({ auth, secrets, endpoints, assertions, send, rotating }, signal)),
  };
}

/** Undefined where the gateway signs nothing. The configuration has refused every key that cannot be used. */
export function assertionsOf(
  auth: AuthDefinition,
  secrets: ReadonlyMap<string, string>,
): AssertionSettings | undefined {
  const key = secrets.get("key");
  if (key === undefined) return undefined;
  const settings = readAssertionSettings(auth, key, auth.clientId ?? secrets.get("clientId"));
  return "allowed" in settings ? undefined : settings;
}

/** Some logins give an access token that does not expire, and no refresh token. @throws TokenFailure without a login. */
function tokenOfLogin(rotating: RotatingToken | undefined): AccessToken | undefined {
  if (rotating === undefined) return undefined;
  const { current: text, login } = rotating;
  if (text === undefined) throw new TokenFailure("was not asked, because no login has taken place");
  if (!login?.isAccessToken) return undefined;
  return checkAccessToken({ text, expiresIn: undefined, scope: login.scope, refreshToken: undefined });
}

/** What a stored refresh token is bound to; undefined for a grant without one. */
function bindingOf(
  minted: MintedService,
  server: string | undefined,
  secrets: ReadonlyMap<string, string>,
  nameSource: NameSource,
): TokenOrder["binding"] {
  const { auth, baseUrl, versionedBaseUrls, key: service } = minted;
  if (auth.refreshToken !== undefined) {
    return { id: nameSource(loginBinding(minted, secrets)), service, configured: undefined };
  }
  const configured = secrets.get("refreshToken");
  if (auth.grant !== "refresh_token" || configured === undefined) return undefined;
  const origins = [...originsOf({ baseUrl, versionedBaseUrls })].sort();
  const { clientId = secrets.get("clientId") } = auth;
  return {
    id: nameSource(JSON.stringify(["refresh_token", origins, server, clientId, configured])),
    service,
    configured,
  };
}

/** The account of the upstream: the client, what it asks for and the user who allowed it. A new client secret or key is still the same account. */
function identityOfClient(
  { grant, tokenUrl, clientId, scope, audience, params }: AuthDefinition,
  secrets: ReadonlyMap<string, string>,
  assertions: AssertionSettings | undefined,
): string {
  const subject = grant === "jwt_bearer" ? [assertions?.grant.issuer, assertions?.grant.subject] : [];
  return JSON.stringify([
    grant,
    tokenUrl,
    clientId ?? secrets.get("clientId"),
    scope,
    audience,
    params,
    secrets.get("refreshToken"),
    ...subject,
  ]);
}
