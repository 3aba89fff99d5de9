/**
 * The request as the upstream will see it, still without its credential: the path joined byte for byte, the headers stripped.
 * Invariant: the client's headers are stripped first; the gateway's own headers are added afterwards.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Callers } from "../../callers/callers.ts";
import {
  carriesKey,
  cutCookies,
  cutKeyParameters,
  cutProtocols,
  holdsKey,
  type IsKey,
} from "../../callers/carried-keys.ts";
import { cutParameters } from "../../callers/presented-keys.ts";
import type { ClientView } from "../../perimeter/client-view.ts";
import { isWebSocketUpgrade } from "../../perimeter/framing.ts";
import type { Instance } from "../../perimeter/instance.ts";
import { type Payload, planPayload } from "../aws/payload.ts";
import { BODY_DIGESTS, FORM_TYPE, sendsForm } from "../credential/form-body.ts";
import type { InjectableRequest, RarePlaces } from "../credential/injectable-request.ts";
import { insertsPath, type PlacePlan, readSubprotocols } from "../credential/place-plan.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { requestReadable } from "../spend/readable-response.ts";
import { connectionOptions } from "./connection-options.ts";
import { hasSharedJar } from "./scope-cookie.ts";
import type { StripPlan } from "./strip-plan.ts";
import { hasConnectionCredentials } from "./transport/client-binding.ts";
import type { BodySource } from "./transport/transport-contract.ts";

export interface UpstreamRequest extends InjectableRequest {
  /** Of the exchange. */
  readonly party: string;
  readonly client: Socket;
  isBound: boolean;
  readonly method: string;
  readonly origin: string;
  /** The client can take trailers (RFC 9110 section 6.5.1). */
  readonly wantsTrailers: boolean;
  /** Set before the first attempt. */
  body: Buffer | BodySource | null;
  readonly rarePlaces: RarePlaces | undefined;
  /** Undefined for a service whose requests are not signed. */
  readonly payload: Payload | undefined;
  /** As the client announced it, of the body that the upstream receives. */
  readonly contentLength: number | undefined;
}

export interface UpstreamRequestParts {
  readonly instance: Instance;
  readonly clients: ClientView;
  readonly callers: Callers;
}

/** W3C Trace Context, section 3.2: a future version may append to the 55 characters, version 00 may not. */
const TRACEPARENT = /^(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;

const TRACEPARENT_LENGTH = 55;

/** Strips the client's request and adds what every upstream request has; the credential is injected later, and last. */
export function createUpstreamRequest(
  exchange: Exchange,
  route: Route,
  { instance, clients, callers }: UpstreamRequestParts,
): UpstreamRequest {
  const { stripPlan, service, strippedParameters, scrub } = route.prepared;
  const { isOwnKey } = callers;
  const incoming = exchange.req.headers;
  const headers = stripHeaders(exchange.req.rawHeaders, stripPlan, connectionOptions(incoming.connection), isOwnKey);
  scrub?.restoreConditions(headers);
  if (exchange.address !== undefined && hasSharedJar(exchange)) dropHeader(headers, "cookie");
  const traceparent = traceparentOf(exchange, instance, isOwnKey);
  // A tracestate belongs to its traceparent (W3C Trace Context, section 3.3).
  const { omittedOwn } = stripPlan;
  if (incoming.tracestate !== undefined && (traceparent !== incoming.traceparent || omittedOwn.has("traceparent"))) {
    dropHeader(headers, "tracestate");
  }
  // A stripped header of the client does not prevent a default.
  for (const [lowerCaseName, name, value] of stripPlan.defaults) {
    if (!holds(headers, lowerCaseName)) headers.push(name, value);
  }
  for (const forced of stripPlan.forced) headers.push(forced);
  if (exchange.spend?.isCounting) requestReadable(headers, exchange);
  const own = ["X-Request-Id", exchange.id, "traceparent", traceparent];
  if (service.forwardedHeaders) own.push(...forwardedHeaders(exchange.req, clients, isOwnKey));
  for (let i = 0; i < own.length; i += 2) {
    const isOmitted = omittedOwn.size > 0 && omittedOwn.has((own[i] as string).toLowerCase());
    if (!isOmitted) headers.push(own[i] as string, own[i + 1] as string);
  }
  const earlier = incoming.via && !holdsKey(incoming.via, isOwnKey) ? `${incoming.via}, ` : "";
  headers.push("Via", `${earlier}${instance.via}`);
  const wantsTrailers = incoming.te !== undefined && /(?:^|,)\s*trailers\s*(?:;|,|$)/i.test(String(incoming.te));
  if (wantsTrailers) headers.push("TE", "trailers");

  const rarePlaces =
    route.prepared.placePlan && rarePlacesOf(exchange, route, route.prepared.placePlan, { headers, callers });
  const { payloads } = route.prepared;
  const payload = payloads && planPayload(payloads, exchange, headers);
  const query = keptQuery(route.query, strippedParameters, isOwnKey);
  exchange.isKeyInUrl = query !== route.query || exchange.url !== exchange.req.url;
  const path = joinPath(route, query);
  return {
    party: exchange.party,
    client: exchange.req.socket,
    isBound: incoming.authorization !== undefined && hasConnectionCredentials(headers),
    method: exchange.method,
    origin: route.base.origin,
    path,
    strippedPath: path,
    headers,
    strippedLength: headers.length,
    wantsTrailers,
    body: null,
    rarePlaces,
    payload,
    contentLength: payload === undefined ? exchange.announcedBytes : payload.contentLength,
  };
}

/** The request after user hooks have changed it. @param route with the changed path and query. @param headers a flat list. */
export function changeUpstreamRequest(
  request: UpstreamRequest,
  route: Route,
  isTargetChanged: boolean,
  headers: readonly string[],
): UpstreamRequest {
  const path = isTargetChanged ? joinPath(route, route.query) : request.strippedPath;
  return {
    ...request,
    path,
    strippedPath: path,
    headers: [...headers],
    strippedLength: headers.length,
    isBound: request.isBound || hasConnectionCredentials(headers),
  };
}

/** @param headers stripped; a form without the client's body needs a type of its own. */
function rarePlacesOf(
  exchange: Exchange,
  { base, pathTemplate = 0 }: Route,
  plan: PlacePlan,
  { headers, callers }: { readonly headers: string[]; readonly callers: Callers },
): RarePlaces {
  const { req } = exchange;
  const isForm = sendsForm(plan, exchange);
  if (isForm) for (const name of BODY_DIGESTS) dropHeader(headers, name);
  if (isForm) {
    // Only the type that was judged: an upstream may read another copy of the header.
    for (const name of ["content-type", "content_type"]) dropHeader(headers, name);
    headers.push("Content-Type", (exchange.hasBody && req.headers["content-type"]) || FORM_TYPE);
  }
  const subprotocols =
    plan.subprotocol === undefined || !isWebSocketUpgrade(req)
      ? undefined
      : readSubprotocols(plan.subprotocol, req.headers["sec-websocket-protocol"], callers.isOwnKey);
  return { pathAt: base.prefix.length, pathTemplate, form: isForm ? NO_BYTES : undefined, subprotocols };
}

const NO_BYTES = Buffer.alloc(0);

/** The client's own if it is valid; else one derived from the request id, if the gateway created that id and it is a UUID. */
function traceparentOf({ req, id }: Exchange, instance: Instance, isKey: IsKey): string {
  const { traceparent } = req.headers;
  const isValid = typeof traceparent === "string" && TRACEPARENT.test(traceparent);
  if (isValid && !holdsKey(traceparent.slice(TRACEPARENT_LENGTH + 1), isKey)) return traceparent;
  return req.headers["x-request-id"] === id ? instance.newTraceparent() : instance.newTraceparent(id);
}

function dropHeader(headers: string[], lowerCaseName: string): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    if ((headers[i] as string).toLowerCase() === lowerCaseName) headers.splice(i, 2);
  }
}

/** Without the client's Host where that is a key. */
function forwardedHeaders(req: IncomingMessage, clients: ClientView, isKey: IsKey): string[] {
  const own = clients.forwardedHeaders(req);
  const host = req.headers.host ?? "";
  if (!holdsKey(host, isKey) && !isKey(host.replace(/:\d+$/, ""))) return own;
  return own.filter((_, i) => !(own[i | 1] as string).includes(host));
}

/** The base's path, the client's path and query: nothing is decoded or encoded. */
function joinPath({ prepared, base, path }: Route, query: string | undefined): string {
  // An inserted path ends where its template ends: the slash of the base's own path does not follow it.
  const joined = path === "" && !insertsPath(prepared.placePlan) ? base.path : base.prefix + path;
  return query === undefined ? joined : `${joined}?${query}`;
}

/** Without the given parameters, and without those with a key; otherwise unchanged. */
export function keptQuery(query: string | undefined, cut: readonly string[], isKey: IsKey): string | undefined {
  const others = query === undefined ? undefined : cutParameters(query, cut);
  return others === undefined ? undefined : cutKeyParameters(others, isKey);
}

function stripHeaders(
  rawHeaders: readonly string[],
  plan: StripPlan,
  named: ReadonlySet<string> | undefined,
  isKey: IsKey,
): string[] {
  const headers: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const rawName = rawHeaders[i] as string;
    const name = plan.forwardedAs(rawName);
    if (name === "" || (named !== undefined && isNamed(named, name))) continue;
    const value = withoutKeys(name, rawHeaders[i + 1] as string, isKey);
    if (value !== undefined && !isKey(rawName)) headers.push(rawName, value);
  }
  return headers;
}

/** A gateway key is never forwarded; any other value of the client's own is. @returns undefined when nothing is left. */
function withoutKeys(name: string, value: string, isKey: IsKey): string | undefined {
  switch (name) {
    case "cookie":
      return cutCookies(value, isKey);
    case "authorization":
      return carriesKey(value, isKey) ? undefined : value;
    case "sec-websocket-protocol":
      return cutProtocols(value, isKey);
    default:
      return holdsKey(value, isKey) ? undefined : value;
  }
}

/** With `_` for `-` too, as in the strip plan. */
function isNamed(named: ReadonlySet<string>, name: string): boolean {
  return named.has(name) || (name.includes("_") && named.has(name.replaceAll("_", "-")));
}

function holds(headers: readonly string[], lowerCaseName: string): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName) return true;
  }
  return false;
}
