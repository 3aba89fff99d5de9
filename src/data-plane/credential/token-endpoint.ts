/**
 * Obtains access tokens from a token endpoint (RFC 6749), with oauth4webapi over the gateway's own connections.
 * Invariant: a failure contains nothing of the response but its status and its error code; and a token that a header cannot carry is
 * refused.
 */
import type { Client, TokenEndpointResponse } from "oauth4webapi";
import type { AssertionSettings } from "../../config/assertion-settings.ts";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { endOfJwt } from "../../config/jwt-end.ts";
import { isObject } from "../../is-object.ts";
import { type AccessToken, checkAccessToken, TokenFailure } from "./access-token.ts";
import { clientAuthentication, NO_CLIENT } from "./client-auth.ts";
import type { EndpointSource } from "./discovery.ts";
import { askEndpoint, describeSkew, refusalOf, type SendToEndpoint } from "./endpoint-exchange.ts";
import type { RotatingToken } from "./rotating-token.ts";
import { freshClaims, signAssertion } from "./sign-assertion.ts";

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

/** Also where the rest of the response is not valid: the endpoint may accept only the new refresh token from now on. @throws TokenFailure */
async function keepRotated(body: unknown, rotating: RotatingToken): Promise<void> {
  const issued = isObject(body) ? body.refresh_token : undefined;
  if (typeof issued === "string" && issued !== "") await rotating.rotate(issued);
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

interface Sending {
  readonly send: SendToEndpoint;
  readonly signal: AbortSignal;
  readonly rotating: RotatingToken | undefined;
  /** An error code must not contain one of them. */
  readonly secrets: readonly string[];
  /** The form has an assertion. */
  readonly isSigned: boolean;
}

/** @returns a successful response; the library is given no other one. @throws TokenFailure */
async function sendForm(
  url: string,
  { headers, body }: { readonly headers: Record<string, string>; readonly body?: unknown },
  { send, signal, rotating, secrets, isSigned }: Sending,
): Promise<Response> {
  const response = await askEndpoint(url, { method: "POST", headers, body: String(body), signal }, send);
  const received = parsed(response.text);
  const code = errorCodeOf(received);
  const sent = [...secrets, headers.authorization?.replace(/^Basic |=+$/g, "") ?? ""];
  const isShown = code !== undefined && !sent.some((secret) => secret !== "" && code.includes(secret));
  const skew = isSigned ? describeSkew(response) : undefined;
  const reason = [isShown ? code : [], skew ?? []].flat().join("; ");
  if (response.status !== 200) throw refusalOf(response, reason);
  if (rotating !== undefined) await keepRotated(received, rotating);
  // Some providers report errors with status 200.
  if (isObject(received) && received.error !== undefined && received.access_token === undefined)
    throw refusalOf(response, reason);
  // Providers also send JSON as text/javascript and the like.
  const headersOfJson = { "content-type": "application/json" };
  return new Response(isObject(received) ? JSON.stringify(conforming(received)) : "", { headers: headersOfJson });
}

/** Undefined for a text that is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * What providers send beside RFC 6749 section 5.1: null for a member that is left out, and scopes as a list. The gateway knows no users, so
 * it has nothing to compare an ID token with.
 */
function conforming({ id_token: _, scope, ...members }: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const present = Object.entries(members).filter(([, value]) => value !== null);
  return { ...Object.fromEntries(present), scope: Array.isArray(scope) ? scope.join(" ") : (scope ?? undefined) };
}

/** RFC 6749 section 5.2; in fewer characters, so that it is a word and no text. */
function errorCodeOf(body: unknown): string | undefined {
  const code = isObject(body) ? body.error : undefined;
  return typeof code === "string" && /^[a-z][a-z0-9_.-]{0,63}$/i.test(code) ? code : undefined;
}

function readToken(issued: TokenEndpointResponse): AccessToken {
  const { access_token: text, token_type: type, expires_in, scope, refresh_token: refreshToken } = issued;
  if (type !== "bearer")
    throw new TokenFailure("issued a token that is bound to a key (DPoP), allowed: a bearer token");
  const expiresIn = expires_in ?? remainingLifeOf(text);
  return checkAccessToken({ text, expiresIn, scope: readScope(scope), refreshToken });
}

/** Of a JSON Web Token without `expires_in`. */
function remainingLifeOf(token: string): number | undefined {
  const end = endOfJwt(token);
  return end === undefined ? undefined : end - Date.now() / 1_000;
}

/** For operators. */
function readScope(scope: string | undefined): string | undefined {
  return scope !== undefined && scope.length <= 1_024 && /^[\x20-\x7e]+$/.test(scope) ? scope : undefined;
}

/** Its own message would contain values of the response. */
function explainResponse(error: unknown): TokenFailure {
  const { name, message } = error as Error;
  if (name === "UnsupportedOperationError") {
    return new TokenFailure("issued a token of a type that is not bearer");
  }
  const member = /"(access_token|token_type|expires_in|scope|id_token|refresh_token)"/.exec(message)?.[1];
  return new TokenFailure(
    member === undefined
      ? "responded with something other than a token response in JSON (RFC 6749 section 5.1)"
      : `responded without a valid ${member} (RFC 6749 section 5.1)`,
  );
}
