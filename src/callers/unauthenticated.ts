/**
 * The 401 of both planes, and the 429 of a locked-out address.
 * Invariant: it says which kind of key is needed and how to send it, and nothing that helps an attacker.
 */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";
import { isOfBrowser } from "../perimeter/browser-request.ts";
import { type EmptyPlace, findStrayKey } from "./presented-keys.ts";

export type Plane = "proxy" | "management";

/** Why a request has no caller. */
export type Unauthenticated =
  | {
      readonly verdict: "missing";
      readonly otherScheme: boolean;
      /** The first place with an empty key. */
      readonly empty: EmptyPlace | undefined;
    }
  /** Too many unknown keys came from this address. */
  | { readonly verdict: "locked"; readonly forMs: number }
  /** The request has a token that opens nothing. `unavailable`: it could not be verified. */
  | { readonly verdict: "token"; readonly state: TokenFault }
  /** `otherPlane`: the key is valid, but for the other plane. `ended`: it was valid. */
  | { readonly verdict: "unknown"; readonly otherPlane: boolean; readonly ended?: EndedKey | undefined };

export type TokenFault = "expired" | "invalid" | "unavailable";

export interface EndedKey {
  readonly id: string;
  readonly state: "expired" | "revoked";
}

const KEY_VARIABLE: Record<Plane, string> = { proxy: "PROXY_API_KEY", management: "MANAGEMENT_API_KEY" };
const PLANE_PATH: Record<Plane, string> = { proxy: "/proxy", management: "/manage" };

/** Usually a variable of the client that is not set. */
const EMPTY: Record<EmptyPlace, string> = {
  authorization: "The Authorization header has a scheme, but no key after it.",
  "x-api-key": "The x-api-key header is empty.",
  api_key: "The parameter api_key is empty.",
};

/**
 * Offered for every service, so that it does not show which of them read Basic. git, npm and others send their password only after
 * this challenge (RFC 7617 section 2).
 */
const BASIC_CHALLENGE = ["WWW-Authenticate", 'Basic realm="ByteProxy"'];
const BEARER_CHALLENGE = ["WWW-Authenticate", "Bearer"];

/**
 * The request by which clients of a container registry learn how to authenticate (OCI distribution specification 1.1, section "Determining
 * Support"). To them Bearer means a token server, and a challenge without its URL is an error.
 */
const REGISTRY_CHECK = /\/v2\/$/;

/** @param request decides whether Basic is offered: a browser would ask its user for a password. */
export function refuseUnauthenticated(
  plane: Plane,
  refused: Unauthenticated,
  request: Pick<IncomingMessage, "headers" | "rawHeaders" | "url">,
): GatewayError {
  const needed = `${PLANE_PATH[plane]} needs the ${plane} key (${KEY_VARIABLE[plane]}), or an issued one`;
  const headers = challenges(plane, request);
  switch (refused.verdict) {
    case "locked":
      return new GatewayError("TOO_MANY_AUTH_FAILURES", {
        message: "Too many unknown keys came from this address within a minute.",
        headers: ["Retry-After", String(Math.ceil(refused.forMs / 1_000))],
      });
    case "missing":
      return new GatewayError("MISSING_CREDENTIALS", {
        message: `${needed}.${faultOfForm(refused, request)}`,
        headers,
      });
    case "token":
      return refuseToken(refused.state, headers);
    case "unknown":
      return new GatewayError("INVALID_API_KEY", { message: `${needed}; ${faultOf(plane, refused)}.`, headers });
  }
}

/** The cause is the same text for every invalid token: a client that forges one must not learn what is wrong with it. */
function refuseToken(state: TokenFault, challenges: readonly string[]): GatewayError {
  if (state === "unavailable") {
    return new GatewayError("TOKEN_KEYS_UNAVAILABLE", { headers: ["Retry-After", String(TOKEN_RETRY_S)] });
  }
  // RFC 6750 section 3.1.
  const headers = challenges.map((value) => (value === "Bearer" ? 'Bearer error="invalid_token"' : value));
  return new GatewayError(state === "expired" ? "TOKEN_EXPIRED" : "INVALID_TOKEN", { headers });
}

/** A fetch of an issuer's keys is tried again after a few seconds. */
const TOKEN_RETRY_S = 5;

/** For a 401 under /proxy that has another cause than the caller's key: every 401 has a challenge (RFC 9110 section 15.5.2). */
export const proxyChallenges = (request: Pick<IncomingMessage, "headers" | "url">) => challenges("proxy", request);

function challenges(plane: Plane, { headers, url = "" }: Pick<IncomingMessage, "headers" | "url">): string[] {
  if (plane === "management" || isOfBrowser(headers)) return BEARER_CHALLENGE;
  return REGISTRY_CHECK.test(url) ? BASIC_CHALLENGE : [...BEARER_CHALLENGE, ...BASIC_CHALLENGE];
}

/** The same for every service: a stranger must not learn which place a service reads. */
function faultOfForm(
  { otherScheme, empty }: Extract<Unauthenticated, { readonly verdict: "missing" }>,
  request: Pick<IncomingMessage, "rawHeaders" | "url">,
): string {
  if (empty !== undefined) return ` ${EMPTY[empty]}`;
  const place = findStrayKey(request);
  if (place !== undefined) {
    return ` ${place} holds a text with the form of an issued key: the key is unknown, or this is not a place for it.`;
  }
  return otherScheme ? " The Authorization header does not have the form `Bearer <key>`." : "";
}

function faultOf(
  plane: Plane,
  { otherPlane, ended }: Extract<Unauthenticated, { readonly verdict: "unknown" }>,
): string {
  // Only a client with the complete key learns this much; the log says whether the key expired or was revoked.
  if (ended !== undefined) return "the one sent has expired or was revoked";
  if (otherPlane) return `the one sent is the ${plane === "proxy" ? "management" : "proxy"} key`;
  return "the one sent is not valid";
}
