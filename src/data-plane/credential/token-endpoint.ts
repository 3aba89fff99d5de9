/**
 * Obtains access tokens from a token endpoint (RFC 6749), with oauth4webapi over the gateway's own connections.
 * Invariant: a token that a header cannot carry is refused.
 */
import type { Client } from "oauth4webapi";
import type { AssertionSettings } from "../../config/assertion-settings.ts";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { type AccessToken, TokenFailure } from "./access-token.ts";
import { clientAuthentication, NO_CLIENT } from "./client-auth.ts";
import type { EndpointSource } from "./discovery.ts";
import type { SendToEndpoint } from "./endpoint-exchange.ts";
import type { RotatingToken } from "./rotating-token.ts";
import { freshClaims, signAssertion } from "./sign-assertion.ts";
import { explainResponse, readToken, sendForm } from "./token-response.ts";

export interface TokenRequest {
  readonly auth: AuthDefinition;
  /** By name: `clientSecret`, `clientId`, `refreshToken`, `key`. */
  readonly secrets: ReadonlyMap<string, string>;
  readonly endpoints: EndpointSource;
  /** Defined where the gateway signs. */
  readonly assertions: AssertionSettings | undefined;
  /** Defined for the grant `refresh_token`. */
  readonly rotating?: RotatingToken | undefined;
  readonly send: SendToEndpoint;
}

/** RFC 7523 section 2.1. */
const JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/** @throws TokenFailure */
export async function fetchAccessToken(request: TokenRequest, signal: AbortSignal): Promise<AccessToken> {
  // Loaded when a service needs it.
  const oauth = await import("oauth4webapi");
  const { auth, secrets, endpoints, assertions, send, rotating } = request;
  const { issuer, tokenUrl } = await endpoints.get(signal);
  const server = { issuer, token_endpoint: tokenUrl };
  const client: Client = { client_id: auth.clientId ?? secrets.get("clientId") ?? NO_CLIENT };
  // While one cannot be stored, a further fetch would only give another one.
  await rotating?.persist();
  const refreshToken = rotating?.current;
  const hidden = [...secrets.values(), refreshToken ?? ""];
  const secret = secrets.get("clientSecret") ?? "";
  const clientAuth = clientAuthentication(auth, { secret, assertions }, (assertion) => hidden.push(assertion));
  const options = {
    // `tokenUrl` may be http: the configuration warns about it.
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: (url: string, init: { headers: Record<string, string>; body?: unknown }) =>
      sendForm(url, init, { send, signal, rotating, secrets: hidden, isSigned: assertions !== undefined }),
    signal,
  };
  const parameters = parametersOf(auth);
  try {
    if (rotating !== undefined && refreshToken !== undefined) {
      const more = { ...options, additionalParameters: parameters };
      const response = await oauth.refreshTokenGrantRequest(server, client, clientAuth, refreshToken, more);
      return readToken(await oauth.processRefreshTokenResponse(server, client, response));
    }
    if (assertions !== undefined && auth.grant === "jwt_bearer") {
      const assertion = await assertGrant(auth, assertions, issuer);
      hidden.push(assertion);
      const sent = { ...parameters, assertion };
      const response = await oauth.genericTokenEndpointRequest(server, client, clientAuth, JWT_BEARER, sent, options);
      return readToken(await oauth.processGenericTokenEndpointResponse(server, client, response));
    }
    const response = await oauth.clientCredentialsGrantRequest(server, client, clientAuth, parameters, options);
    return readToken(await oauth.processClientCredentialsResponse(server, client, response));
  } catch (error) {
    endpoints.forget();
    throw error instanceof TokenFailure ? error : explainResponse(error);
  }
}

/** Google takes the scopes from the assertion: https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests */
function assertGrant(
  { scope }: AuthDefinition,
  { signingKey, grant, audience }: AssertionSettings,
  server: string,
): Promise<string> {
  const { issuer: iss, subject: sub } = grant;
  return signAssertion(signingKey, { iss, sub, aud: audience ?? server, scope, ...freshClaims() });
}

function parametersOf({ grant, scope, audience, params = {}, refreshToken }: AuthDefinition): Record<string, string> {
  // Without it, the tokens have the scope of the login (RFC 6749 section 6), where the person may have granted less.
  const isOmitted = scope === undefined || grant === "jwt_bearer" || refreshToken === "login";
  return {
    ...params,
    ...(isOmitted ? {} : { scope }),
    ...(audience === undefined ? {} : { audience }),
  };
}
