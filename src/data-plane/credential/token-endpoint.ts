/**
 * Obtains access tokens from a token endpoint (RFC 6749), with oauth4webapi over the gateway's own connections.
 * Invariant: a failure contains nothing of the response but its status and its error code; and a token that a header cannot carry is
 * refused.
 */
import type { Client, ClientAuth, TokenEndpointResponse } from "oauth4webapi";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { isObject } from "../../is-object.ts";
import type { RotatingToken } from "./rotating-token.ts";

export interface AccessToken {
  readonly text: string;
  /** Seconds from the request on; undefined where it is not known. */
  readonly expiresIn: number | undefined;
  readonly scope: string | undefined;
  /** The refresh token that came with it, for masks. */
  readonly refreshToken: string | undefined;
}

export class TokenFailure extends Error {
  /** The endpoint wants no request for this time, ms. */
  readonly retryAfterMs: number | undefined;
  /** For the log only. */
  readonly detail: string | undefined;

  /** @param message completes "the token endpoint …", and may be shown to callers. */
  constructor(message: string, more: { readonly retryAfterMs?: number | undefined; readonly detail?: string } = {}) {
    super(message);
    this.retryAfterMs = more.retryAfterMs;
    this.detail = more.detail;
  }
}

/** Sends a form to the token endpoint. @throws Error with a message that may be logged. */
export type PostForm = (
  url: string,
  form: { readonly headers: Readonly<Record<string, string>>; readonly body: string; readonly signal: AbortSignal },
) => Promise<{
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly text: string;
}>;

export interface TokenRequest {
  readonly auth: AuthDefinition;
  /** By name: `clientSecret`, `clientId`, `refreshToken`. */
  readonly secrets: ReadonlyMap<string, string>;
  /** Defined for the grant `refresh_token`. */
  readonly rotating?: RotatingToken | undefined;
  readonly post: PostForm;
}

/** A longer one is no header that servers accept. */
const TOKEN_LENGTH_LIMIT = 16_384;
/** Of a token that claims to live longer. */
const LONGEST_LIFE_SECONDS = 365 * 86_400;
const LONGEST_RETRY_AFTER_SECONDS = 300;

/** @throws TokenFailure */
export async function fetchAccessToken(request: TokenRequest, signal: AbortSignal): Promise<AccessToken> {
  // Loaded when a service needs it.
  const oauth = await import("oauth4webapi");
  const { auth, secrets, post, rotating } = request;
  // The issuer is compared with nothing in this grant.
  const server = { issuer: auth.tokenUrl ?? "", token_endpoint: auth.tokenUrl ?? "" };
  const client: Client = { client_id: auth.clientId ?? secrets.get("clientId") ?? "" };
  const secret = secrets.get("clientSecret") ?? "";
  const methods = { basic: basicAuth, post: oauth.ClientSecretPost, none: oauth.None } as const;
  const clientAuth: ClientAuth = methods[auth.clientAuth ?? "basic"](secret);
  const refreshToken = rotating?.current;
  const options = {
    // `tokenUrl` may be http: the configuration warns about it.
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: (url: string, init: { headers: Record<string, string>; body?: unknown }) =>
      send(url, init, { post, signal, secrets: [...secrets.values(), refreshToken ?? ""] }),
    signal,
  };
  const parameters = parametersOf(auth);
  try {
    if (rotating === undefined || refreshToken === undefined) {
      const response = await oauth.clientCredentialsGrantRequest(server, client, clientAuth, parameters, options);
      return readToken(await oauth.processClientCredentialsResponse(server, client, response));
    }
    const more = { ...options, additionalParameters: parameters };
    const response = await oauth.refreshTokenGrantRequest(server, client, clientAuth, refreshToken, more);
    const issued = await oauth.processRefreshTokenResponse(server, client, response);
    await keepRotated(issued.refresh_token, rotating);
    return readToken(issued);
  } catch (error) {
    throw error instanceof TokenFailure ? error : explainResponse(error);
  }
}

/** Also where the access token cannot be used: the endpoint may accept only the new refresh token from now on. @throws TokenFailure */
async function keepRotated(token: string | undefined, rotating: RotatingToken): Promise<void> {
  if (token === undefined || token === rotating.current) return;
  try {
    await rotating.rotate(token);
  } catch (error) {
    throw new TokenFailure("issued another refresh token, which could not be stored", {
      detail: (error as Error).message,
    });
  }
}

/** RFC 6749 section 2.3.1. The library's own also encodes `-`, `.` and `_`, which servers that decode nothing do not understand. */
function basicAuth(secret: string): ClientAuth {
  const encoded = (text: string) => new URLSearchParams([["", text]]).toString().slice(1);
  return (_server, { client_id }, _body, headers) => {
    const pair = `${encoded(client_id)}:${encoded(secret)}`;
    headers.set("authorization", `Basic ${Buffer.from(pair, "latin1").toString("base64")}`);
  };
}

function parametersOf({ scope, audience, params = {} }: AuthDefinition): Record<string, string> {
  return {
    ...params,
    ...(scope === undefined ? {} : { scope }),
    ...(audience === undefined ? {} : { audience }),
  };
}

interface Sending {
  readonly post: PostForm;
  readonly signal: AbortSignal;
  /** An error code must not contain one of them. */
  readonly secrets: readonly string[];
}

/** @returns a successful response; the library is given no other one. @throws TokenFailure */
async function send(
  url: string,
  { headers, body }: { readonly headers: Record<string, string>; readonly body?: unknown },
  { post, signal, secrets }: Sending,
): Promise<Response> {
  let response: Awaited<ReturnType<PostForm>>;
  try {
    response = await post(url, { headers, body: String(body), signal });
  } catch (error) {
    throw new TokenFailure("could not be used: the connection failed, or there was no response in time", {
      detail: (error as Error).message,
    });
  }
  const { status, text } = response;
  if (status === 200) {
    // Providers also send JSON as text/javascript and the like.
    return new Response(withoutIdToken(text), { headers: { "content-type": "application/json" } });
  }
  const code = errorCodeOf(text);
  const isShown = code !== undefined && !secrets.some((secret) => secret !== "" && code.includes(secret));
  throw new TokenFailure(`responded with ${status}${isShown ? ` (${code})` : ""}`, {
    retryAfterMs: retryAfterOf(response.headers["retry-after"]),
  });
}

/** The gateway knows no users, so it has nothing to compare an ID token with. */
function withoutIdToken(text: string): string {
  if (!text.includes("id_token")) return text;
  try {
    const { id_token: _, ...others } = JSON.parse(text);
    return JSON.stringify(others);
  } catch {
    return text;
  }
}

/** RFC 6749 section 5.2; in fewer characters, so that it is a word and no text. */
function errorCodeOf(text: string): string | undefined {
  try {
    const body: unknown = JSON.parse(text);
    const code = isObject(body) ? body.error : undefined;
    return typeof code === "string" && /^[a-z][a-z0-9_.-]{0,63}$/i.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 9110 section 10.2.3. */
function retryAfterOf(text: string | readonly string[] | undefined): number | undefined {
  if (typeof text !== "string") return undefined;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return seconds > 0 ? Math.min(seconds, LONGEST_RETRY_AFTER_SECONDS) * 1_000 : undefined;
}

function readToken(issued: TokenEndpointResponse): AccessToken {
  const { access_token: text, token_type: type, expires_in, scope, refresh_token: refreshToken } = issued;
  if (type !== "bearer")
    throw new TokenFailure("issued a token that is bound to a key (DPoP), allowed: a bearer token");
  // RFC 6750 section 2.1, and what servers accept beyond it. A space or a control character would end the token.
  if (!/^[\x21-\x7e]+$/.test(text)) throw new TokenFailure("issued a token with characters that a header cannot carry");
  if (text.length > TOKEN_LENGTH_LIMIT) throw new TokenFailure("issued a token that is too long for a header");
  if (expires_in !== undefined && !(expires_in > 0)) throw new TokenFailure("issued a token that has already expired");
  const expiresIn = expires_in ?? remainingLifeOf(text);
  if (expiresIn !== undefined && expiresIn <= 0) throw new TokenFailure("issued a token that has already expired");
  return {
    text,
    expiresIn: expiresIn && Math.min(expiresIn, LONGEST_LIFE_SECONDS),
    scope: readScope(scope),
    refreshToken,
  };
}

/** Of a JSON Web Token without `expires_in`: `exp` (RFC 7519 section 4.1.4). Its signature is for the upstream. */
function remainingLifeOf(token: string): number | undefined {
  const [, payload, signature] = token.split(".");
  if (payload === undefined || signature === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    const exp = isObject(claims) ? claims.exp : undefined;
    return typeof exp === "number" && Number.isFinite(exp) ? exp - Date.now() / 1_000 : undefined;
  } catch {
    return undefined;
  }
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
