/**
 * A request to a service with a cache: a stored response, a validated one, the response to an equal request that is in flight, or the
 * upstream's.
 * Invariant: the caller was authenticated and admitted to the service before; and what cannot be part of a key goes past the cache.
 */
import { findOverrides } from "../../callers/overrides.ts";
import { GatewayError } from "../../errors.ts";
import { admitToUpstream } from "../admit-to-upstream.ts";
import type { Exchange } from "../exchange.ts";
import { type ForwardParts, forward } from "../forward/forward.ts";
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { Route } from "../identify.ts";
import { reacquireSlots } from "../reacquire-slots.ts";
import { headerOf, urlOf } from "./cache-key.ts";
import { cacheStatus } from "./cache-status.ts";
import { conditionalRequest } from "./conditional-request.ts";
import { Fill } from "./fill.ts";
import { InvalidatingDestination } from "./invalidating-sink.ts";
import { mayServeOnError } from "./judge-entry.ts";
import { type LookedUp, lookUp } from "./look-up.ts";
import type { CachedRequest, ReaderResult } from "./reader.ts";
import { type RequestRules, readRequestRules } from "./request-rules.ts";
import { respondFromStore } from "./respond-from-store.ts";
import type { ServiceCache } from "./service-cache.ts";

/** RFC 9110 section 9.2.1. */
const SAFE: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** Failures in whose place a stale response may be served: the upstream cannot be asked now. */
const UNANSWERED: ReadonlySet<string> = new Set([
  ...["UPSTREAM_UNREACHABLE", "UPSTREAM_TLS_ERROR", "UPSTREAM_PROTOCOL_ERROR", "UPSTREAM_TIMEOUT"],
  ...["CIRCUIT_OPEN", "UPSTREAM_QUOTA_EXHAUSTED", "UNDER_PRESSURE", "UPSTREAM_CREDENTIAL_UNAVAILABLE"],
]);

/** A response that could not be shared leads to a request of one's own, which cannot be released again. */
const ROUNDS = 3;

/** Resolves when the exchange is over on both sides. @throws GatewayError while nothing of a response was sent, also by rejecting. */
export function forwardThroughCache(
  exchange: Exchange,
  route: Route,
  request: UpstreamRequest,
  parts: ForwardParts,
): Promise<void> {
  const cache = route.prepared.cache as ServiceCache;
  const rules = readRequestRules(request);
  const passes = whyPasses({ exchange, route, request, rules });
  const cached = { exchange, route, request, rules, parts };
  if (passes !== undefined) return counted(cache, exchange, pass(cache, cached, passes));
  const found = lookUp(cache, cached);
  const { entry, judgement } = found;
  if (entry === undefined || judgement !== "fresh") return counted(cache, exchange, serve(cache, cached, found));
  // Without a further promise: this is what a cache is for.
  cache.count("hit");
  const outcome = { state: "hit", status: cacheStatus.hit(entry.freshUntil - cache.clock.now()) } as const;
  return respondFromStore(cached, entry, outcome, cache);
}

async function counted(cache: ServiceCache, exchange: Exchange, over: Promise<void>): Promise<void> {
  try {
    await over;
  } finally {
    if (exchange.cache !== undefined) cache.count(exchange.cache.state);
  }
}

/** `override`: the upstream may read another method from it, and change what it names. */
type PassReason = "method" | "override" | "bypass";

export interface Asking {
  readonly exchange: Pick<Exchange, "method" | "hasBody">;
  readonly route: Pick<Route, "query"> & { readonly prepared: Pick<Route["prepared"], "methodParameters"> };
  readonly request: UpstreamRequest;
  readonly rules: RequestRules;
}

/** Why a request does not use the cache; undefined where it does. */
export function whyPasses({ exchange, route, request, rules }: Asking): PassReason | undefined {
  const { method, hasBody } = exchange;
  const { hasCookie, hasPrecondition } = rules;
  if (method !== "GET" && method !== "HEAD") return "method";
  const { methodParameters } = route.prepared;
  const { headers: rawHeaders } = request;
  const overrides = findOverrides({ rawHeaders, query: route.query, methodParameters, isFromProxy: false });
  if (overrides !== undefined && [...overrides.methods].some((each) => !SAFE.has(each))) return "override";
  // A body is no part of the key, and a connection that is authenticated belongs to one client.
  const isOfOneClient = hasBody || request.isBound || request.rarePlaces?.form !== undefined;
  return isOfOneClient || hasCookie || hasPrecondition ? "bypass" : undefined;
}

type Passed = Omit<CachedRequest, "rules">;

async function pass(cache: ServiceCache, passed: Passed, reason: PassReason): Promise<void> {
  const { exchange, route, request, parts } = passed;
  exchange.cache = { state: "bypass", status: cacheStatus.passed(reason === "method" ? "method" : "bypass") };
  if (reason !== "method") admitToUpstream(passed);
  if (reason !== "override" && SAFE.has(exchange.method)) return forward(exchange, route, request, parts);
  exchange.destination = new InvalidatingDestination({ cache, exchange, route, request, parts }, exchange.destination);
  try {
    await forward(exchange, route, request, parts);
  } catch (thrown) {
    // The upstream may have done what it was asked for.
    if (exchange.attempts > 0) cache.invalidate([urlOf(request)]);
    throw thrown;
  }
}

async function serve(cache: ServiceCache, cached: CachedRequest, first: LookedUp): Promise<void> {
  const { exchange } = cached;
  for (let round = 1; ; round++) {
    const found = round === 1 ? first : lookUp(cache, cached);
    const { entry, judgement } = found;
    if (entry !== undefined && judgement !== "validate") {
      if (judgement === "revalidate-behind") revalidateBehind(cache, cached, found);
      const state = judgement === "fresh" ? "hit" : "stale";
      const outcome = { state, status: cacheStatus.hit(entry.freshUntil - cache.clock.now()) } as const;
      return respondFromStore(cached, entry, outcome, cache);
    }
    if (cached.rules.onlyIfCached) throw notCached(exchange);
    const result = await askUpstream(cache, cached, found, round > 1);
    if (result.kind === "over") return;
    if (result.kind === "entry") return respondValidated(cache, cached, found, result.entry);
    if (result.kind === "stale") return respondInstead(cache, cached, result.entry);
    if (result.kind === "failed") {
      const isUnanswered = entry !== undefined && UNANSWERED.has(result.error.code);
      if (isUnanswered && mayServeOnError(entry, cached.rules, cache.clock.now())) {
        return respondInstead(cache, cached, entry);
      }
      throw result.error;
    }
    if (round === ROUNDS) throw new Error("a request of its own was released");
  }
}

/** Joins an equal request, or sends one. */
async function askUpstream(
  cache: ServiceCache,
  cached: CachedRequest,
  found: LookedUp,
  isAlone: boolean,
): Promise<ReaderResult> {
  const sharedAs = isAlone ? undefined : found.sharedAs;
  const pending = sharedAs === undefined ? undefined : cache.pendingOf(sharedAs);
  const joined = pending instanceof Fill ? pending.join(cached) : undefined;
  if (joined !== undefined) return joined;
  try {
    if (isAlone) await takeSlotsAgain(cached);
    if (cached.exchange.hasClientLeft) return { kind: "over" };
    admitToUpstream(cached);
  } catch (thrown) {
    return { kind: "failed", error: GatewayError.from(thrown) };
  }
  const fill = createFill(cache, cached, found, { sharedAs, isBehind: false });
  const result = fill.join(cached) as Promise<ReaderResult>;
  void fill.run();
  return result;
}

/** The request that it waited for may have used its slots. @throws GatewayError where none become free in time. */
async function takeSlotsAgain({ exchange, route: { prepared }, parts }: CachedRequest): Promise<void> {
  const { quota } = prepared;
  if (quota?.isHolding) await reacquireSlots(exchange, prepared, quota.maxWaitMsOf(exchange), parts);
}

function createFill(
  cache: ServiceCache,
  cached: CachedRequest,
  { key, entry, isShared, pool }: LookedUp,
  { sharedAs, isBehind }: { readonly sharedAs: string | undefined; readonly isBehind: boolean },
): Fill {
  const { request, route } = cached;
  const sent =
    entry === undefined ? request : conditionalRequest(request, entry, route.prepared.scrub?.restoreConditions);
  const hasOwnAuthorization = isShared && headerOf(request, "authorization") !== undefined;
  const urlKey = cache.keys.urlKeyOf(urlOf(request));
  const fill = new Fill({
    ...{ cache, cached, request: sent, key, urlKey, isShared, hasOwnAuthorization, sharedAs, entry, pool, isBehind },
  });
  cache.fillBegan(fill);
  return fill;
}

/** RFC 5861 section 3. A failure leaves the stored response as it is. */
function revalidateBehind(cache: ServiceCache, cached: CachedRequest, found: LookedUp): void {
  // Under the key alone no request is joined.
  const sharedAs = found.sharedAs ?? found.key;
  if (cache.pendingOf(sharedAs) !== undefined) return;
  void createFill(cache, cached, found, { sharedAs, isBehind: true }).run();
}

function respondValidated(
  cache: ServiceCache,
  cached: CachedRequest,
  found: LookedUp,
  entry: LookedUp["entry"] & object,
): Promise<void> {
  const reason = cached.rules.demandsValidation ? "request" : "stale";
  // Of a client that joined, the exchange made no attempt.
  const isOwn = cached.exchange.attempts > 0;
  const outcome = isOwn
    ? ({ state: "revalidated", status: cacheStatus.validated(reason) } as const)
    : ({ state: "coalesced", status: cacheStatus.collapsed(found.entry === undefined ? "uri-miss" : reason) } as const);
  return respondFromStore(cached, entry, outcome, cache);
}

/** A stale response in the place of a failure. */
function respondInstead(cache: ServiceCache, cached: CachedRequest, entry: LookedUp["entry"] & object): Promise<void> {
  const outcome = { state: "stale", status: cacheStatus.failed(entry.freshUntil - cache.clock.now()) } as const;
  return respondFromStore(cached, entry, outcome, cache);
}

function notCached({ serviceKey }: Exchange): GatewayError {
  return new GatewayError("NOT_CACHED", {
    message: `The request asks for a cached response only, and there is none of ${serviceKey} that may be used.`,
    hint: "Send the request without `Cache-Control: only-if-cached`.",
  });
}
