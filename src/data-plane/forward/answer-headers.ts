/**
 * The upstream's headers as the client will see them.
 * Invariant: `X-Proxy-*` comes from this gateway only, so that no upstream can forge where a response came from.
 */
import type { ServiceAddresses } from "../../config/service-addresses.ts";
import type { UserHooks } from "../../hooks/user-hooks.ts";
import { pushRateLimitFields } from "../../limits/rate-limit-fields.ts";
import type { ClientView } from "../../perimeter/client-view.ts";
import type { Cors } from "../../perimeter/cors.ts";
import type { Instance } from "../../perimeter/instance.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { connectionOptions } from "./connection-options.ts";
import { insertedPathsOf } from "./inserted-path.ts";
import { createLinkRewriter, type LinkRewriter, readRefresh } from "./links.ts";
import { createOwnAddress } from "./own-address.ts";
import { hasSharedJar, isForWholeHost, scopeCookie } from "./scope-cookie.ts";
import { HOP_BY_HOP } from "./strip-plan.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import { isolate, ORIGIN_WIDE } from "./web-content.ts";

/** Headers with links that clients follow, and how their values are written. */
const LINKS: ReadonlyMap<string, "location" | "link" | "refresh"> = new Map([
  ...["location", "content-location", "operation-location", "azure-asyncoperation", "content-base"].map(
    (name) => [name, "location"] as const,
  ),
  ...["sourcemap", "x-sourcemap"].map((name) => [name, "location"] as const),
  ["link", "link"],
  ["uri", "link"],
  ["refresh", "refresh"],
]);

/** The headers that are not relayed unchanged, beside those with a dropped prefix. */
const TREATMENTS: ReadonlyMap<string, "dropped" | "isolated" | "touched"> = new Map([
  ...[...HOP_BY_HOP].map((name) => [name, "dropped"] as const),
  // They would let clients bypass the gateway.
  ...["alt-svc", "alternate-protocol"].map((name) => [name, "dropped"] as const),
  // A server in front of the gateway would send one of its own files instead of the response.
  ...["x-accel-redirect", "x-sendfile", "x-lighttpd-send-file", "x-litespeed-location", "x-reproxy-url"].map(
    (name) => [name, "dropped"] as const,
  ),
  // RFC 2965, which some old clients obey.
  ["set-cookie2", "dropped"],
  // The gateway's own replaces it.
  ...[...ORIGIN_WIDE, "x-content-type-options"].map((name) => [name, "isolated"] as const),
  // Rewritten in `pushTouched`.
  ...[...LINKS.keys(), "set-cookie", "content-disposition"].map((name) => [name, "touched"] as const),
]);

/** Only the gateway grants CORS. Compares the first letter first, because this runs for every header of every response. */
function hasDroppedPrefix(name: string): boolean {
  const first = name.charCodeAt(0);
  return (
    (first === 97 /* a */ && name.startsWith("access-control-")) ||
    (first === 120 /* x */ && name.startsWith("x-proxy-"))
  );
}

/** What happens to an upstream's header; undefined for one that is relayed unchanged. @param name in lower case. */
export function headerTreatment(name: string): "dropped" | "isolated" | "touched" | undefined {
  return hasDroppedPrefix(name) ? "dropped" : TREATMENTS.get(name);
}

export interface ResponseParts {
  /** Used only where there is a link to rewrite. */
  readonly clients: ClientView;
  /** Of all services; used in the same way. */
  readonly serviceAddresses: () => ServiceAddresses;
  readonly cors: Cors;
  readonly instance: Instance;
  /** Undefined without user hooks. */
  readonly hooks: UserHooks | undefined;
}

/** The upstream's headers, without those that the gateway adds. @returns a flat list. */
export function relayedHeaders(
  exchange: Exchange,
  route: Route,
  upstreamHeaders: ResponseHeaders,
  parts: ResponseParts,
): string[] {
  const { cors } = parts;
  const headers: string[] = [];
  const isIsolated = route.prepared.service.webContent === "isolate";
  let links: LinkRewriter | undefined;
  const named = connectionOptions(asOne(upstreamHeaders.connection));
  for (const name in upstreamHeaders) {
    const value = upstreamHeaders[name];
    const treatment = TREATMENTS.get(name);
    if (value === undefined || treatment === "dropped" || hasDroppedPrefix(name) || named?.has(name)) continue;
    if (treatment === "isolated" && isIsolated) continue;
    if (name === "vary" && cors.varies) continue;
    if (treatment === "touched") {
      const form = LINKS.get(name);
      if (form === undefined) pushTouched(headers, name, value, { exchange, route, clients: parts.clients });
      else {
        links ??= linksOf(exchange, route, parts);
        for (const one of typeof value === "string" ? [value] : value) headers.push(name, links[form](one));
      }
    } else if (typeof value === "string") headers.push(name, value);
    else for (const one of value) headers.push(name, one);
  }
  if (links?.hasBlocked) headers.push("X-Proxy-Link-Blocked", "1");
  route.prepared.echoMask?.maskHeaders(headers);
  return headers;
}

/** True where a client that follows the response's redirect would leave the service. @param headers as they are sent to the client. */
export function leavesService(
  exchange: Exchange,
  route: Route,
  { status, headers }: { readonly status: number; readonly headers: readonly string[] },
  parts: ResponseParts,
): boolean {
  const links = linksOf(exchange, route, parts);
  return headers.some((name, i) => {
    const value = headers[i + 1];
    if (i % 2 === 1 || value === undefined) return false;
    if (name === "location") return status >= 300 && status < 400 && links.leavesService(value);
    const target = name === "refresh" ? readRefresh(value).reference : "";
    return target !== "" && links.leavesService(target);
  });
}

function linksOf(
  exchange: Exchange,
  route: Route,
  { clients, serviceAddresses }: Pick<ResponseParts, "clients" | "serviceAddresses">,
): LinkRewriter {
  const { prepared, base, path, pathTemplate = 0 } = route;
  const { req, address } = exchange;
  const inserted = exchange.insertedPaths[pathTemplate];
  const publicBase = clients.publicBaseOf(req, address);
  // A name that no client knows, where the gateway does not know its own: relative references are judged by their path.
  const seenBase = URL.canParse(publicBase) ? publicBase : "http://gateway.invalid";
  return createLinkRewriter({
    bases: [prepared.base, ...prepared.versionedBases.values()],
    isRewriting: prepared.service.rewriteLinks,
    requestUrl:
      base.origin + (path === "" && inserted === undefined ? base.path : base.prefix + (inserted ?? "") + path),
    publicBase,
    clientUrl: seenBase + req.url,
    serviceKey: prepared.service.key,
    gatewayPrefix: prepared.gatewayPrefix,
    isAtOwnAddress: address !== undefined,
    locate: createOwnAddress({
      hosts: clients.hostsOf(req),
      services: serviceAddresses(),
      listeners: prepared.egress?.ownListeners,
    }),
    secretParameters: prepared.secretParameters,
    inserted: insertedPathsOf(exchange, prepared),
  });
}

/** @returns a flat list for `writeHead`. */
export function createResponseHeaders(
  exchange: Exchange,
  route: Route,
  upstreamHeaders: ResponseHeaders,
  parts: ResponseParts,
): string[] {
  const { cors, instance } = parts;
  const headers = relayedHeaders(exchange, route, upstreamHeaders, parts);
  if (cors.varies) {
    const exposed = asOne(upstreamHeaders["access-control-expose-headers"]);
    const own = ["Vary", cors.vary(asOne(upstreamHeaders.vary)), ...cors.grant(exchange.req.headers, exposed)];
    route.prepared.echoMask?.maskHeaders(own);
    headers.push(...own);
  }
  if (route.prepared.service.webContent === "isolate") isolate(headers, exchange.isKeyInUrl);
  if (exchange.limit !== undefined) pushRateLimitFields(headers, exchange.limit);
  headers.push(
    "X-Proxy-Service",
    route.prepared.service.key,
    "X-Proxy-Duration",
    `${Math.round(exchange.respondedAt - exchange.startedAt)}ms`,
    "X-Proxy-Request-Id",
    exchange.id,
  );
  if (exchange.waitedMs > 0) headers.push("X-Proxy-Queue-Duration", `${Math.round(exchange.waitedMs)}ms`);
  const { cache } = exchange;
  if (cache !== undefined) headers.push("X-Proxy-Cache", cache.state, "Cache-Status", cache.status);
  if (upstreamHeaders["x-request-id"] === undefined) headers.push("X-Request-Id", exchange.id);
  // Checked now: a drain may have begun while the upstream worked.
  if (exchange.closesConnection || instance.isDraining) headers.push("Connection", "close");
  return headers;
}

interface Touching {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly clients: ClientView;
}

function pushTouched(
  headers: string[],
  name: string,
  value: string | string[],
  { exchange, route: { prepared, base }, clients }: Touching,
): void {
  const values = typeof value === "string" ? [value] : value;
  if (name === "content-disposition") {
    // First: after a Content-Length node:http reads it as UTF-8 and then refuses file names that are not ASCII.
    for (const one of values) headers.unshift(name, one);
    return;
  }
  if (!prepared.service.cookies) return;
  const { address } = exchange;
  const root = address === undefined ? clients.publicPath + prepared.gatewayPrefix : "";
  for (const cookie of values) {
    const isLimited = address === undefined || address.sharesCookies ? !isForWholeHost(cookie) : true;
    if (!isLimited || hasSharedJar(exchange)) prepared.noteDroppedCookie();
    else headers.push(name, scopeCookie(cookie, base, root, insertedPathsOf(exchange, prepared)));
  }
}

function asOne(value: string | string[] | undefined): string | undefined {
  return typeof value === "object" ? value.join(",") : value;
}

/**
 * Fields that a trailer must not carry (RFC 9110 section 6.5.1), and those that the gateway rewrites or grants itself: nothing comes
 * in after a body that would have been removed or rewritten before it.
 */
const NEVER_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...TREATMENTS.keys(),
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-range",
  "content-security-policy",
  "content-security-policy-report-only",
  "content-type",
  "host",
  "ratelimit",
  "ratelimit-policy",
  "retry-after",
  "www-authenticate",
  "x-request-id",
]);

/** The upstream's trailers for the client, as pairs for `addTrailers`. */
export function trailersToRelay(
  trailers: ResponseHeaders,
  { echoMask }: Pick<Route["prepared"], "echoMask">,
): [name: string, value: string][] {
  return Object.entries(trailers).flatMap(([name, value]) =>
    value === undefined || !mayTrail(name)
      ? []
      : [value].flat().map((one): [string, string] => [name, echoMask?.mask(one) ?? one]),
  );
}

/** The value of `Trailer` for the client; empty when it would announce nothing. */
export function announcedTrailers(trailer: string | string[] | undefined): string {
  if (trailer === undefined) return "";
  const names = [trailer].flat().flatMap((list) => list.split(","));
  return names
    .map((name) => name.trim())
    .filter((name) => name !== "" && mayTrail(name.toLowerCase()))
    .join(", ");
}

function mayTrail(name: string): boolean {
  return !NEVER_IN_TRAILERS.has(name) && !/^(?:x-proxy-|access-control-)/.test(name);
}
