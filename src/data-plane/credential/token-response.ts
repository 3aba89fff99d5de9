/**
 * Responses of token endpoints (RFC 6749 sections 5.1 and 5.2), also of those that deviate from it.
 * Invariant: a failure contains nothing of the response but its status and its error code.
 */
import type { TokenEndpointResponse } from "oauth4webapi";
import { endOfJwt } from "../../config/jwt-end.ts";
import { isObject } from "../../is-object.ts";
import { type AccessToken, checkAccessToken, TokenFailure } from "./access-token.ts";
import { askEndpoint, describeSkew, refusalOf, type SendToEndpoint } from "./endpoint-exchange.ts";
import type { RotatingToken } from "./rotating-token.ts";

export interface Sending {
  readonly send: SendToEndpoint;
  readonly signal: AbortSignal;
  readonly rotating: RotatingToken | undefined;
  /** An error code must not contain one of them. */
  readonly secrets: readonly string[];
  /** The form has an assertion. */
  readonly isSigned: boolean;
}

/** @returns a successful response; the library is given no other one. @throws TokenFailure */
export async function sendForm(
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
  const refusal = () => refusalOf(response, reason, isShown ? code : undefined);
  if (response.status !== 200) throw refusal();
  if (rotating !== undefined) await keepRotated(received, rotating);
  // Some providers report errors with status 200.
  if (isObject(received) && received.error !== undefined && received.access_token === undefined) throw refusal();
  // Providers also send JSON as text/javascript and the like.
  const headersOfJson = { "content-type": "application/json" };
  return new Response(isObject(received) ? JSON.stringify(conforming(received)) : "", { headers: headersOfJson });
}

/** Also where the rest of the response is not valid: the endpoint may accept only the new refresh token from now on. @throws TokenFailure */
async function keepRotated(body: unknown, rotating: RotatingToken): Promise<void> {
  const issued = isObject(body) ? body.refresh_token : undefined;
  if (typeof issued === "string" && issued !== "") await rotating.rotate(issued);
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
function conforming(received: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { id_token: _, scope, token_type: type, ...members } = ofUser(received);
  const present = Object.entries(members).filter(([, value]) => value !== null);
  return {
    ...Object.fromEntries(present),
    scope: Array.isArray(scope) ? scope.join(" ") : (scope ?? undefined),
    token_type: SLACK_TYPES.includes(String(type)) ? "bearer" : (type ?? undefined),
  };
}

/** Its tokens are bearer tokens: https://docs.slack.dev/reference/methods/oauth.v2.access */
const SLACK_TYPES: readonly string[] = ["bot", "user"];

/** Slack sends the token of a user beside that of a bot, if there is one. */
function ofUser(received: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const { access_token: text, authed_user: user } = received;
  return text === undefined && isObject(user) && user.access_token !== undefined ? user : received;
}

/** RFC 6749 section 5.2; in fewer characters, so that it is a word and no text. */
function errorCodeOf(body: unknown): string | undefined {
  const code = isObject(body) ? body.error : undefined;
  return typeof code === "string" && /^[a-z][a-z0-9_.-]{0,63}$/i.test(code) ? code : undefined;
}

export function readToken(issued: TokenEndpointResponse): AccessToken {
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
export function explainResponse(error: unknown): TokenFailure {
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
