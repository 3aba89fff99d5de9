/**
 * The requests of a login to an authorization server: the URL at which a person logs in, and what the endpoints are asked afterwards.
 * Invariant: each login has its own state and PKCE verifier (RFC 7636, S256), which leave this process only as the standards say.
 */
import type { AuthorizationServer, Client, ClientAuth, TokenEndpointResponse } from "oauth4webapi";
import type { AssertionSettings } from "../../config/assertion-settings.ts";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { TokenFailure } from "./access-token.ts";
import { clientAuthentication, NO_CLIENT } from "./client-auth.ts";
import type { LoginToken } from "./credential-provider.ts";
import type { Endpoints } from "./discovery.ts";
import type { SendToEndpoint } from "./endpoint-exchange.ts";
import { explainResponse, readToken, sendForm } from "./token-response.ts";

/** The client of a service that takes its refresh token from a login. */
export interface LoginClient {
  readonly auth: AuthDefinition;
  /** By name: `clientSecret`, `clientId`, `key`. */
  readonly secrets: ReadonlyMap<string, string>;
  /** Defined where the client signs. */
  readonly assertions: AssertionSettings | undefined;
  readonly endpoints: Endpoints;
  readonly send: SendToEndpoint;
}

/** A login that has begun in a browser. */
export interface PendingLogin {
  /** Where the person logs in. */
  readonly url: string;
  readonly state: string;
  /** @param parameters of the redirect. @throws TokenFailure, whose message completes "the authorization server …". */
  complete(parameters: URLSearchParams, signal: AbortSignal): Promise<LoginToken>;
}

type OAuth = typeof import("oauth4webapi");

/** @param redirectUri to which the browser returns. @throws TokenFailure */
export async function beginLogin(client: LoginClient, redirectUri: string): Promise<PendingLogin> {
  const oauth = await import("oauth4webapi");
  const { authorizationUrl } = client.endpoints;
  if (authorizationUrl === undefined) throw new TokenFailure("has no authorization endpoint: use --device");
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const url = new URL(authorizationUrl);
  const parameters = {
    ...requested(client.auth, url.searchParams),
    response_type: "code",
    client_id: clientOf(client).client_id,
    redirect_uri: redirectUri,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return {
    url: url.href,
    state,
    complete: (received, signal) =>
      request(client, signal, async (exchange) => {
        const validated = validate(oauth, client, received, state);
        exchange.hide(validated.get("code") ?? "", verifier);
        const { server, clientAuth, options } = exchange;
        const response = await oauth.authorizationCodeGrantRequest(
          ...([server, clientOf(client), clientAuth, validated, redirectUri, verifier, options] as const),
        );
        return oauth.processGenericTokenEndpointResponse(server, clientOf(client), response);
      }).then(tokenOfLogin),
  };
}

/** One request of a login. */
export interface Exchange {
  readonly server: AuthorizationServer;
  readonly clientAuth: ClientAuth;
  readonly options: Parameters<OAuth["authorizationCodeGrantRequest"]>[6];
  /** Error codes must not contain these texts. */
  hide(...texts: readonly string[]): void;
}

/** @throws TokenFailure */
export async function request<T>(
  client: LoginClient,
  signal: AbortSignal,
  work: (exchange: Exchange) => Promise<T>,
): Promise<T> {
  const oauth = await import("oauth4webapi");
  const { auth, secrets, assertions, endpoints, send } = client;
  const hidden = [...secrets.values()];
  const secret = secrets.get("clientSecret") ?? "";
  const sending = { send, signal, rotating: undefined, secrets: hidden, isSigned: assertions !== undefined };
  try {
    return await work({
      server: serverOf(endpoints),
      clientAuth: clientAuthentication(auth, { secret, assertions }, (assertion) => hidden.push(assertion)),
      options: {
        // The configuration warns about http, and discovery refuses it.
        [oauth.allowInsecureRequests]: true,
        [oauth.customFetch]: (url: string, init: { headers: Record<string, string>; body?: unknown }) =>
          sendForm(url, init, sending),
        additionalParameters: auth.params ?? {},
        signal,
      },
      hide: (...texts) => hidden.push(...texts.filter((text) => text !== "")),
    });
  } catch (error) {
    throw error instanceof TokenFailure ? error : explainResponse(error);
  }
}

export function clientOf({ auth, secrets }: LoginClient): Client {
  return { client_id: auth.clientId ?? secrets.get("clientId") ?? NO_CLIENT };
}

/** What the login is for. @param given parameters of the URL, which the operator wrote. */
export function requested({ scope, audience }: AuthDefinition, given = new URLSearchParams()): Record<string, string> {
  // OpenID Connect Core 1.0 section 11: otherwise the scope is ignored.
  const isOffline = scope?.split(" ").includes("offline_access") && !given.has("prompt");
  return {
    ...(scope === undefined ? {} : { scope }),
    ...(audience === undefined ? {} : { audience }),
    ...(isOffline ? { prompt: "consent" } : {}),
  };
}

/** @throws TokenFailure if the gateway could not keep the token. */
export function tokenOfLogin(issued: TokenEndpointResponse): LoginToken {
  const { text, expiresIn, scope, refreshToken } = readToken(issued);
  if (refreshToken !== undefined) return { token: refreshToken, isAccessToken: false };
  if (expiresIn === undefined) return { token: text, isAccessToken: true, scope };
  throw new TokenFailure(
    "issued a token that expires, and no refresh token. Providers issue one for a scope such as offline_access, or for a parameter of authorizationUrl such as ?access_type=offline&prompt=consent",
  );
}

function serverOf({ issuer, tokenUrl, authorizationUrl, deviceAuthorizationUrl, sendsIssuer }: Endpoints) {
  return {
    issuer,
    token_endpoint: tokenUrl,
    ...(authorizationUrl === undefined ? {} : { authorization_endpoint: authorizationUrl }),
    ...(deviceAuthorizationUrl === undefined ? {} : { device_authorization_endpoint: deviceAuthorizationUrl }),
    authorization_response_iss_parameter_supported: sendsIssuer,
  };
}

/** @throws TokenFailure */
function validate(oauth: OAuth, client: LoginClient, received: URLSearchParams, state: string): URLSearchParams {
  const { endpoints, auth } = client;
  // The issuer of endpoints that the operator wrote is not known (RFC 9207 section 2.4).
  const issuer = auth.tokenUrl === undefined ? endpoints.issuer : (received.get("iss") ?? endpoints.issuer);
  try {
    const validated = oauth.validateAuthResponse(serverOf({ ...endpoints, issuer }), clientOf(client), received, state);
    if (validated.get("code")) return validated;
  } catch (error) {
    if (!(error instanceof oauth.AuthorizationResponseError)) throw new TokenFailure(explainRedirect(error as Error));
    throw new TokenFailure(`refused the login: ${describeRefusal(received)}`);
  }
  throw new TokenFailure("sent the browser back without a code");
}

/** The library's own message may contain values of the redirect. */
function explainRedirect({ message }: Error): string {
  return message.includes('"iss"')
    ? "sent the browser back with the name of another issuer, or none (RFC 9207)"
    : "sent the browser back with parameters that are not valid";
}

/** For the person who logs in. The text is the server's: what shows it escapes it. */
function describeRefusal(received: URLSearchParams): string {
  const short = (name: string) => (received.get(name) ?? "").replace(/[^\x20-\x7e]+/g, " ").slice(0, 300);
  const description = short("error_description");
  return description === "" ? short("error") : `${short("error")} (${description})`;
}
