/** How the access tokens of a service of type `oauth2` are obtained. */
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { originsOf } from "../../config/secret-lock.ts";
import { endpointsOf } from "./discovery.ts";
import type { EndpointAccess } from "./endpoint-exchange.ts";
import type { MintedService } from "./minted-credential.ts";
import type { TokenOrder } from "./renewed-tokens.ts";
import { fetchAccessToken } from "./token-endpoint.ts";

/** Turns a text into a name that does not reveal it. */
type NameSource = (text: string) => string;

/** @param secrets by name: `clientSecret`, `clientId`, `refreshToken`. */
export function orderOauth2Token(
  service: MintedService,
  secrets: ReadonlyMap<string, string>,
  { send, way }: EndpointAccess,
  nameSource: NameSource,
): TokenOrder {
  const { auth, key: serviceKey } = service;
  const { required: _, ...requested } = auth;
  const endpoints = endpointsOf(auth, send);
  return {
    serviceKey,
    account: identityOfClient(auth, secrets),
    shareKey: JSON.stringify([requested, [...secrets], way]),
    binding: bindingOf(service, secrets, nameSource),
    fetchToken: (signal, rotating) => fetchAccessToken({ auth, secrets, send, rotating, endpoints }, signal),
  };
}

/** What a stored refresh token is bound to; undefined for a grant without one. */
function bindingOf(
  { auth, baseUrl, versionedBaseUrls, key: service }: MintedService,
  secrets: ReadonlyMap<string, string>,
  nameSource: NameSource,
): TokenOrder["binding"] {
  const configured = secrets.get("refreshToken");
  if (auth.grant !== "refresh_token" || configured === undefined) return undefined;
  const origins = [...originsOf({ baseUrl, versionedBaseUrls })].sort();
  const { tokenUrl = auth.issuer, clientId = secrets.get("clientId") } = auth;
  return {
    id: nameSource(JSON.stringify(["refresh_token", origins, tokenUrl, clientId, configured])),
    service,
    configured,
  };
}

/** The account of the upstream: the client, what it asks for and the user who allowed it. A new client secret is still the same account. */
function identityOfClient(
  { grant, issuer, tokenUrl = issuer, clientId, scope, audience, params }: AuthDefinition,
  secrets: ReadonlyMap<string, string>,
): string {
  return JSON.stringify([
    grant,
    tokenUrl,
    clientId ?? secrets.get("clientId"),
    scope,
    audience,
    params,
    secrets.get("refreshToken"),
  ]);
}
