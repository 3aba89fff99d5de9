/**
 * The one walk through the steps that admit a request, shared by the pipeline and the dry run behind `/manage/explain`.
 * Each step is a pure `decide` that gives a verdict, and where needed a commit: it takes a slot or spends a point.
 * Invariant: a step sees only requests that the steps above it admitted, unless the walk is a dry run; a dry run commits nothing.
 */
import type { IncomingMessage } from "node:http";
import type { Caller, Callers } from "../callers/callers.ts";
import type { FoundKey } from "../callers/key-index.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import type { Parties } from "../callers/parties.ts";
import type { Presentation } from "../callers/presentation.ts";
import { readPresentedKeys } from "../callers/presented-keys.ts";
import type { Service } from "../config/schema.ts";
import type { ServiceAddress } from "../config/service-addresses.ts";
import { GatewayError } from "../errors.ts";
import type { KeyLimits } from "../limits/limiters.ts";
import type { Connections } from "../perimeter/connections.ts";
import type { Cors } from "../perimeter/cors.ts";
import { findMalformed } from "../perimeter/framing.ts";
import type { Instance } from "../perimeter/instance.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Registry } from "../services/registry.ts";
import { decideAuthorization, decidePermission } from "./authorize.ts";
import { decideCredential } from "./credential/credential-provider.ts";
import { findsPlacedKeys, type PlacePlan } from "./credential/place-plan.ts";
import type { Exchange } from "./exchange.ts";
import { decideBreaker } from "./forward/breaker.ts";
import { asksForIdempotency } from "./idempotency/idempotency-key.ts";
import {
  cutOwnPath,
  decideKeyInPath,
  decidePathHint,
  decideRoute,
  type Identified,
  identify,
  maskKeysInUrl,
  pathWithoutVersion,
  type Route,
} from "./identify.ts";
import { forecastLimit, type WaitForecast, waitForLimit } from "./limit-wait.ts";
import { decideConnection, decideServiceShed, decideShed, decideWebSocketShed, type ShedParts } from "./load.ts";
import type { PreparedService } from "./prepared-service.ts";
import { decideKeyLimit, decideRateLimit } from "./rate-limit.ts";
import type { Spending } from "./spend/spending.ts";
import { spendTogether } from "./spend-together.ts";

export interface AdmissionParts extends ShedParts {
  /** Slots of all WebSockets: MAX_WEBSOCKETS. */
  readonly webSockets: Slots;
  readonly instance: Instance;
  readonly callers: Callers;
  /** The keys that are valid now: a reload may have replaced those of `callers`. */
  readonly decideForCurrentKeys: (presentation: Presentation) => Caller | GatewayError;
  readonly parties: Parties;
  readonly keyUsage: Pick<KeyUsage, "note">;
  readonly keyLimits: KeyLimits;
  readonly cors: Cors;
  /** Asked only while the plane has no key. */
  readonly guardOpenPlane: OpenPlaneGuard;
  readonly registry: Registry;
  readonly spending: Spending;
  /** By key. */
  readonly upstreams: ReadonlyMap<string, { readonly prepared: PreparedService }>;
}

/** What the walk needs to know about the request beside its exchange. */
export interface Arrival {
  /** Of the listener that accepted the request. */
  readonly connections: Connections;
  /** The service's own host or port to which the request was sent. */
  readonly address: ServiceAddress | undefined;
  readonly isUpgrade: boolean;
  /** Gives the caller instead of the request's keys; for a dry run. */
  readonly assumeCaller?: ((access?: Service["access"]) => Caller | GatewayError) | undefined;
}

/**
 * How a walk treats verdicts. @typeParam Refused what `admit` returns for a refusal: `never` where it throws, `undefined` where
 * the walk continues.
 */
export interface Walk<Refused extends undefined> {
  admit<T>(step: string, verdict: T | GatewayError): T | Refused;
  /** Slots are taken, points are spent and guesses are counted. */
  readonly commits: boolean;
}

export type Admission<Refused extends undefined> =
  /** A CORS preflight, with the headers that respond to it. It needs no caller and counts against nothing. */
  | { readonly kind: "preflight"; readonly identified: Identified; readonly headers: readonly string[] }
  | {
      readonly kind: "walked";
      readonly identified: Identified;
      readonly caller: Caller | Refused;
      /** A refused route ends the walk: no further step can be decided without one. */
      readonly route: Route | Refused;
    };

/**
 * Every step that needs no store; `walkLimits` follows. Synchronous: node:http's parser may raise an error of its own as soon as its
 * handler returns, and a refusal must be written before that. @throws GatewayError where `admit` throws.
 */
export function walkAdmission<Refused extends undefined>(
  exchange: Exchange,
  arrival: Arrival,
  walk: Walk<Refused>,
  parts: AdmissionParts,
): Admission<Refused> {
  const { instance, callers, cors } = parts;
  const { req, clientAddress: address } = exchange;
  const { connections, isUpgrade } = arrival;

  exchange.address = arrival.address;
  // A client that sent one malformed message gets no second request on the same connection.
  exchange.closesConnection = true;
  walk.admit("framing", findMalformed(req));
  exchange.closesConnection =
    instance.isDraining ||
    connections.isEnding ||
    req.headers.upgrade !== undefined ||
    connections.isSurplus(req.socket);
  walk.admit("loop", instance.findLoop(req.headers));
  if (walk.commits && req.headers.origin !== undefined && !isUpgrade) cors.remember(req.headers);
  if (!callers.isProtected("proxy")) walk.admit("open plane", parts.guardOpenPlane(req, arrival.address));

  const identified = identify(req.url as string, arrival.address, parts.upstreams);
  exchange.url = maskKeysInUrl(req.url as string, callers.isOwnKey);
  const preflight = exchange.method === "OPTIONS" ? cors.decidePreflight(req) : undefined;
  const headers = preflight && walk.admit("preflight", preflight);
  if (headers !== undefined) return { kind: "preflight", identified, headers };

  walk.admit("shed", decideShed(exchange, parts, connections));
  if (walk.commits) exchange.acquireGatewaySlot(parts.inFlight);

  const presentation = presentationOf(exchange, identified);
  const access = identified.prepared?.service.access;
  const decideCaller = walk.commits ? callers.authenticate : callers.decide;
  const caller = walk.admit("authenticate", arrival.assumeCaller?.(access) ?? decideCaller(presentation, access));
  if (caller !== undefined) {
    exchange.callerId = caller.id;
    exchange.party = parts.parties.of(caller, address, access);
    if (exchange.party !== "") exchange.voter = caller.id;
    exchange.issued = caller.issued;
  }

  const found = walk.admit("route", decideRoute(identified, parts.registry, exchange.issued?.permissions));
  const placePlan = found?.prepared.placePlan;
  const route = placePlan === undefined ? found : withoutOwnPath(exchange, found as Route, placePlan, callers);
  if (route !== undefined) {
    exchange.serviceKey = route.prepared.service.key;
    if (exchange.url !== req.url) walk.admit("route", decideKeyInPath(route, callers.isOwnKey));
    // Only an issued key or a token restricts its caller.
    const { issued } = exchange;
    if (caller !== undefined) walk.admit("permission", issued && decidePermission(exchange, route, caller));
    if (walk.commits && caller?.issued !== undefined) noteUse(caller.issued, parts);
    if (route.prepared.pathHints !== undefined) {
      const cut = (found?.path.length ?? 0) - route.path.length;
      const hinted = cut === 0 ? identified.path : identified.path.slice(0, -(found?.path.length ?? 0)) + route.path;
      walk.admit("path hint", decidePathHint(route, hinted));
    }
    admitToService(exchange, route.prepared, isUpgrade, { walk, parts });
  }
  return { kind: "walked", identified, caller, route };
}

/**
 * Verifies the tokens of the request that are not known yet, which takes a moment and may fetch keys; undefined where there are none.
 * The walk then decides with the result. A request that is refused before its caller is authenticated costs no verification.
 */
export function verifyTokens(
  exchange: Exchange,
  arrival: Pick<Arrival, "address" | "connections">,
  parts: AdmissionParts,
): Promise<void> | undefined {
  const { callers } = parts;
  if (!callers.acceptsTokens) return undefined;
  const { req } = exchange;
  if (findMalformed(req) !== undefined || decideShed(exchange, parts, arrival.connections) !== undefined)
    return undefined;
  const identified = identify(req.url as string, arrival.address, parts.upstreams);
  return callers.verifyTokens(presentationOf(exchange, identified))?.then((verdicts) => {
    exchange.tokenVerdicts = verdicts;
  });
}

/** What the request presents as its caller. */
function presentationOf(exchange: Exchange, identified: Identified): Presentation {
  const { req: request, clientAddress: address, tokenVerdicts: verdicts } = exchange;
  const presented = readPresentedKeys(request.rawHeaders, identified.query);
  return { plane: "proxy", presented, address, request, placed: placedKeysOf(request, identified), verdicts };
}

/** Of a token the gateway keeps no record. */
function noteUse(issued: FoundKey, { keyUsage }: AdmissionParts): void {
  if (issued.isToken === undefined) keyUsage.note(issued.id, Date.now());
}

/** Where the service that was asked for has its own credential; undefined for a service without one, and for an unknown one. */
function placedKeysOf({ rawHeaders, headers }: IncomingMessage, identified: Identified) {
  const places = identified.prepared?.keyPlaces;
  const { query } = identified;
  return places && (() => places.read({ rawHeaders, headers, query, path: pathWithoutVersion(identified) }));
}

/** Everything after this, and the log, sees the path without the text that the credential replaces. */
function withoutOwnPath(exchange: Exchange, route: Route, plan: PlacePlan, { isOwnKey }: Callers): Route {
  const cut = cutOwnPath(route, isOwnKey) ?? route;
  const url = exchange.req.url as string;
  const query = route.query === undefined ? 0 : route.query.length + 1;
  const start = url.length - query - route.path.length;
  const logged = url.slice(0, start) + url.slice(start + route.path.length - cut.path.length);
  exchange.url = maskKeysInUrl(logged, findsPlacedKeys(plan, isOwnKey));
  return cut;
}

interface Walking {
  readonly walk: Walk<undefined>;
  readonly parts: AdmissionParts;
}

/** What the service accepts, and whether it has capacity. */
function admitToService(
  exchange: Exchange,
  prepared: PreparedService,
  isUpgrade: boolean,
  { walk, parts: { webSockets, retryAfterS } }: Walking,
): void {
  const { key } = prepared.service;
  walk.admit("authorize", decideAuthorization(exchange, prepared, isUpgrade));
  const mayBeLeft = !isUpgrade && (prepared.cache !== undefined || prepared.idempotency !== undefined);
  const isLeft = mayBeLeft && mayNeedNoUpstream(exchange, prepared);
  // While its source fails, an attempt is refused.
  const isCredentialLeft = isLeft && prepared.credential.missing?.isUnavailable === true;
  if (!isCredentialLeft) walk.admit("credential", decideCredential(prepared.credential, key));
  walk.admit("service shed", decideServiceShed(prepared.slots, key, retryAfterS));
  if (isUpgrade) walk.admit("WebSocket shed", decideWebSocketShed(webSockets, prepared, retryAfterS));
  if (prepared.breaker !== undefined && !isLeft) walk.admit("breaker", decideBreaker(prepared, exchange));
  if (!isUpgrade && !isLeft) walk.admit("connections", decideConnection(prepared, exchange, retryAfterS));
  if (!walk.commits) return;
  exchange.acquireServiceSlot(prepared.slots);
  if (isUpgrade) exchange.acquireWebSocketSlots(webSockets, prepared.webSocketSlots);
  exchange.times = prepared.times;
  if (prepared.credential.sourceId !== undefined) exchange.credentialRefusals = prepared.credentialRefusals;
}

/** A stored response needs no upstream: the cache, or idempotency, decides on it for a request without one. */
export function mayNeedNoUpstream(exchange: Exchange, { cache, idempotency }: PreparedService): boolean {
  const { method } = exchange;
  if (cache !== undefined && (method === "GET" || method === "HEAD")) return true;
  return idempotency !== undefined && asksForIdempotency(exchange);
}

/** The gateway's own limits: of the key, then of the service. @returns the wait, in a dry run. @throws GatewayError where `admit` throws. */
export async function walkLimits(
  exchange: Exchange,
  prepared: PreparedService,
  walk: Walk<undefined>,
  parts: AdmissionParts,
): Promise<WaitForecast | undefined> {
  const { callerId, clientAddress: address } = exchange;
  const { limiter } = prepared;
  const limits = parts.keyLimits.of(exchange.issued);
  const together = limits.length > 0 && walk.commits ? spendTogether(limits, limiter, exchange) : undefined;
  const spent = together && (await together);
  let count = 0;
  for (const { id, limiter: keyLimiter } of limits) {
    const state = spent?.[count++] ?? (await keyLimiter[walk.commits ? "spend" : "peek"]({ callerId: id, address }));
    walk.admit("key's rate limit", decideKeyLimit(state, Date.now(), id === callerId));
  }
  if (limiter === undefined) return undefined;
  const { waitingRoom } = limiter;
  const ofService = spent?.[limits.length];
  if (waitingRoom !== undefined && walk.commits) {
    const { inFlight, retryAfterS } = parts;
    const again = { decideCallerAgain: () => decideEndedCaller(exchange, parts), spent: ofService };
    const admitted = await waitForLimit(exchange, prepared, waitingRoom, { inFlight, retryAfterS, ...again });
    exchange.limit = walk.admit("rate limit", admitted);
    return undefined;
  }
  exchange.limit = ofService ?? (await limiter[walk.commits ? "spend" : "peek"]({ callerId, address }));
  if (waitingRoom !== undefined) {
    return walk.admit("rate limit", forecastLimit(exchange, prepared, waitingRoom, exchange.limit));
  }
  walk.admit("rate limit", decideRateLimit(exchange.limit, prepared.service.key, Date.now()));
  return undefined;
}

/** For a request that waited: its key may have ended meanwhile. */
function decideEndedCaller(exchange: Exchange, parts: AdmissionParts): GatewayError | undefined {
  const { callerId, issued, req, address } = exchange;
  if (issued === undefined ? callerId !== "proxy-key" : !issued.isOver) return undefined;
  const identified = identify(req.url as string, address, parts.upstreams);
  const caller = parts.decideForCurrentKeys(presentationOf(exchange, identified));
  if (caller instanceof GatewayError) return caller;
  if (issued === undefined && caller.id === callerId) return undefined;
  return new GatewayError("INVALID_API_KEY", {
    message: "The key was changed while the request waited for the rate limit.",
    hint: "Send the request again.",
  });
}
