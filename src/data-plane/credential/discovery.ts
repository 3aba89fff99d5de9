/**
 * The endpoints of an authorization server, from the metadata of its issuer (RFC 8414; OpenID Connect Discovery 1.0).
 * Invariant: the metadata name the same issuer, and every endpoint is https; http is possible only if the issuer and the endpoint
 * are on this machine.
 */
import type { AuthorizationServer } from "oauth4webapi";
import type { AuthDefinition } from "../../config/auth-schema.ts";
import { isLoopbackHost } from "../../config/hosts.ts";
import { TokenFailure } from "./access-token.ts";
import { askEndpoint, refusalOf, type SendToEndpoint } from "./endpoint-exchange.ts";

/** The endpoints that the gateway uses. */
export interface Endpoints {
  readonly issuer: string;
  readonly tokenUrl: string;
  readonly authorizationUrl: string | undefined;
  readonly deviceAuthorizationUrl: string | undefined;
  /** Authorization responses name the issuer (RFC 9207). */
  readonly sendsIssuer: boolean;
}

export interface EndpointSource {
  /** @throws TokenFailure that names the discovery. */
  get(signal: AbortSignal): Promise<Endpoints> | Endpoints;
  /** After a failed request to one of them: they are looked up again. */
  forget(): void;
}

/** Metadata seldom change, and a server that moves usually serves the old endpoints for longer. */
const LONGEST_AGE_MS = 3_600_000;

/** @param auth of type `oauth2`. */
export function endpointsOf(auth: AuthDefinition, send: SendToEndpoint): EndpointSource {
  const { tokenUrl, issuer = "", authorizationUrl, deviceAuthorizationUrl } = auth;
  if (tokenUrl !== undefined) {
    // The issuer of such a server is not known, and compared with nothing.
    const fixed = { issuer: tokenUrl, tokenUrl, authorizationUrl, deviceAuthorizationUrl, sendsIssuer: false };
    return { get: () => fixed, forget() {} };
  }
  let found: { readonly endpoints: Endpoints; readonly at: number } | undefined;
  return {
    async get(signal) {
      if (found !== undefined && performance.now() - found.at < LONGEST_AGE_MS) return found.endpoints;
      const discovered = await discover(issuer, send, signal);
      const endpoints = {
        ...discovered,
        authorizationUrl: authorizationUrl ?? discovered.authorizationUrl,
        deviceAuthorizationUrl: deviceAuthorizationUrl ?? discovered.deviceAuthorizationUrl,
      };
      found = { endpoints, at: performance.now() };
      return endpoints;
    },
    forget() {
      found = undefined;
    },
  };
}

async function discover(issuer: string, send: SendToEndpoint, signal: AbortSignal): Promise<Endpoints> {
  const failed = (
    reason: string,
    more: { readonly retryAfterMs?: number | undefined; readonly detail?: string } = {},
  ) => new TokenFailure(`was not found by discovery: ${reason}`, more);
  let metadata: AuthorizationServer;
  try {
    metadata = await fetchMetadata(issuer, send, signal);
  } catch (error) {
    if (!(error instanceof TokenFailure)) throw failed(isOtherIssuer(error) ? OTHER_ISSUER : NO_METADATA);
    throw failed(`the issuer ${error.message}`, { retryAfterMs: error.retryAfterMs, detail: error.detail ?? "" });
  }
  const endpoint = (name: "token_endpoint" | "authorization_endpoint" | "device_authorization_endpoint") => {
    // Some servers write null for an endpoint that they do not have.
    const url = metadata[name] ?? undefined;
    if (url === undefined || isUsable(url, issuer)) return url;
    throw failed(`${name} in the metadata is no https URL`);
  };
  const tokenUrl = endpoint("token_endpoint");
  if (tokenUrl === undefined) throw failed("the metadata name no token_endpoint");
  return {
    issuer: metadata.issuer,
    tokenUrl,
    authorizationUrl: endpoint("authorization_endpoint"),
    deviceAuthorizationUrl: endpoint("device_authorization_endpoint"),
    sendsIssuer: metadata.authorization_response_iss_parameter_supported === true,
  };
}

/** RFC 8414 section 3.3: both are compared as they are written. */
const OTHER_ISSUER = "the metadata are of another issuer; a slash at its end counts";
const isOtherIssuer = (error: unknown) =>
  (error as { code?: unknown }).code === "OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED";

const NO_METADATA = "the issuer responded with something other than its metadata (RFC 8414 section 3.2)";

/** The path of OpenID Connect first, because more servers have it; the metadata have the same form. */
async function fetchMetadata(issuer: string, send: SendToEndpoint, signal: AbortSignal): Promise<AuthorizationServer> {
  // Loaded when a service needs it.
  const oauth = await import("oauth4webapi");
  const expected = new URL(issuer);
  let refusal: TokenFailure | undefined;
  for (const algorithm of ["oidc", "oauth2"] as const) {
    const response = await oauth.discoveryRequest(expected, {
      algorithm,
      // The configuration allows http only for an issuer on this machine.
      [oauth.allowInsecureRequests]: true,
      [oauth.customFetch]: async (url: string, { headers }: { readonly headers: Record<string, string> }) => {
        const { status, headers: fields, text } = await askEndpoint(url, { method: "GET", headers, signal }, send);
        if (status === 200) return new Response(text, { headers: { "content-type": "application/json" } });
        refusal ??= refusalOf({ status, headers: fields, text }, undefined);
        return new Response(null, { status: 404 });
      },
    });
    if (response.status === 200) return oauth.processDiscoveryResponse(expected, response);
  }
  throw refusal;
}

function isUsable(url: unknown, issuer: string): boolean {
  if (typeof url !== "string" || !URL.canParse(url) || url.includes("#")) return false;
  const { protocol, hostname, username, password } = new URL(url);
  if (username !== "" || password !== "") return false;
  return protocol === "https:" || (protocol === "http:" && /^http:/i.test(issuer) && isLoopbackHost(hostname));
}
