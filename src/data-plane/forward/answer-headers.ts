/**
 * The upstream's headers as the client will see them.
 * Invariant: `X-Proxy-*` comes from this gateway only, so that no upstream can forge where a response came from.
 */
import { pushRateLimitFields } from "../../limits/rate-limit-fields.ts";
import type { ClientView } from "../../perimeter/client-view.ts";
import type { Cors } from "../../perimeter/cors.ts";
import type { Instance } from "../../perimeter/instance.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { createLinkRewriter, scopeCookie } from "./links.ts";
import { HOP_BY_HOP } from "./strip-plan.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import { connectionOptions } from "./upstream-request.ts";

/** The headers that are not relayed unchanged, beside those with a dropped prefix. */
const TREATMENTS: ReadonlyMap<string, "dropped" | "touched"> = new Map([
  ...[...HOP_BY_HOP].map((name) => [name, "dropped"] as const),
  // It would let clients bypass the gateway.
  ["alt-svc", "dropped"],
  // Rewritten in `pushTouched`.
  ...["location", "link", "set-cookie", "content-location", "content-disposition"].map(
    (name) => [name, "touched"] as const,
  ),
]);

/** Only the gateway grants CORS. Compares the first letter first, because this runs for every header of every response. */
function hasDroppedPrefix(name: string): boolean {
  const first = name.charCodeAt(0);
  return (
    (first === 97 /* a */ && name.startsWith("access-control-")) ||
    (first === 120 /* x */ && name.startsWith("x-proxy-"))
  );
}

export interface ResponseParts {
  /** Used only where there is a link to rewrite. */
  readonly clients: ClientView;
  readonly cors: Cors;
  readonly instance: Instance;
}

/** The upstream's headers, without those that the gateway adds. @returns a flat list. */
export function relayedHeaders(
  exchange: Exchange,
  route: Route,
  upstreamHeaders: ResponseHeaders,
  { clients, cors }: ResponseParts,
): string[] {
  const headers: string[] = [];
  const named = connectionOptions(asOne(upstreamHeaders.connection));
  for (const name in upstreamHeaders) {
    const value = upstreamHeaders[name];
    const treatment = TREATMENTS.get(name);
    if (value === undefined || treatment === "dropped" || hasDroppedPrefix(name) || named?.has(name)) continue;
    if (name === "vary" && cors.varies) continue;
    if (treatment === "touched")
      pushTouched(headers, name, value, { route, publicBase: () => clients.publicBaseOf(exchange.req) });
    else if (typeof value === "string") headers.push(name, value);
    else for (const one of value) headers.push(name, one);
  }
  return headers;
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
    headers.push("Vary", cors.vary(asOne(upstreamHeaders.vary)), ...cors.grant(exchange.req.headers, exposed));
  }
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
  if (upstreamHeaders["x-request-id"] === undefined) headers.push("X-Request-Id", exchange.id);
  // Checked now: a drain may have begun while the upstream worked.
  if (exchange.closesConnection || instance.isDraining) headers.push("Connection", "close");
  return headers;
}

function pushTouched(
  headers: string[],
  name: string,
  value: string | string[],
  { route: { prepared, base }, publicBase }: { readonly route: Route; readonly publicBase: () => string },
): void {
  const values = typeof value === "string" ? [value] : value;
  if (name === "content-disposition") {
    // First: after a Content-Length node:http reads it as UTF-8 and then refuses file names that are not ASCII.
    for (const one of values) headers.unshift(name, one);
    return;
  }
  if (name === "set-cookie") {
    if (!prepared.service.cookies) return;
    for (const cookie of values) headers.push(name, scopeCookie(cookie, base, prepared.service.key));
    return;
  }
  const rewriter = createLinkRewriter({
    bases: prepared.service.rewriteLinks ? [prepared.base, ...prepared.versionedBases.values()] : [],
    requestOrigin: base.origin,
    publicBase: publicBase(),
    secretParameters: prepared.secretParameters,
  });
  const rewrite = name === "link" ? rewriter.link : rewriter.location;
  for (const one of values) headers.push(name, rewrite(one));
}

function asOne(value: string | string[] | undefined): string | undefined {
  return typeof value === "object" ? value.join(",") : value;
}

/**
 * Fields that a trailer must not carry (RFC 9110 section 6.5.1), and those that the gateway rewrites or grants itself: nothing comes
 * in after a body that would have been removed or rewritten before it.
 */
const NEVER_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  "alt-svc",
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-location",
  "content-range",
  "content-type",
  "host",
  "link",
  "location",
  "ratelimit",
  "ratelimit-policy",
  "retry-after",
  "set-cookie",
  "www-authenticate",
  "x-request-id",
]);

/** The upstream's trailers for the client, as pairs for `addTrailers`. */
export function trailersToRelay(trailers: ResponseHeaders): [name: string, value: string][] {
  return Object.entries(trailers).flatMap(([name, value]) =>
    value === undefined || !mayTrail(name) ? [] : [value].flat().map((one): [string, string] => [name, one]),
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
