/**
 * Reads the body of a request whose model is checked, or whose stream has to report its usage.
 * Invariant: the upstream receives the bytes that were checked; and a request that needs neither streams as ever.
 */
import { performance } from "node:perf_hooks";
import { findOverrides } from "../../callers/overrides.ts";
import type { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { type BodyLimits, decideBodySize, readSignedBody } from "../signature/signed-body.ts";
import type { SignatureParts } from "../signature/signed-delivery.ts";
import { decideBudget } from "./admit-budget.ts";
import { decideBodyModel, decideTarget, modelsInTarget, refuse } from "./decide-model.ts";
import { whyUnreadable } from "./json-request.ts";
import { knowsUsageOption, withUsage } from "./request-usage.ts";
import type { Spend } from "./spend.ts";
import type { Spending } from "./spending.ts";

/** A body that is checked or changed. */
const BODY_BYTES_LIMIT = 1_048_576;

/** Where no model is checked, only such a body can be too large. */
const UNANNOUNCED = {
  bodies: "bodies without a Content-Length, because it has a budget,",
  hint: "Send a Content-Length, or a smaller body.",
};

const NO_PARAMETERS = { query: undefined, methodParameters: new Set<string>() };

export interface PrepareParts extends SignatureParts {
  readonly spending: Pick<Spending, "stateOf">;
}

/** Methods that, without a body, make no model work. */
const READING_METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/** What the head of the request decides about its model; the rest is decided by its body. */
export function decideModelByHead(
  spend: Pick<Spend, "models">,
  exchange: Exchange,
  route: Route,
  isUpgrade: boolean,
): GatewayError | undefined {
  const { models } = spend;
  if (models.length === 0) return undefined;
  if (isUpgrade) return refuse("the gateway does not read the messages of a WebSocket", models);
  const problem = exchange.hasBody ? whyUnreadable(exchange.req.rawHeaders) : undefined;
  if (problem !== undefined) return refuse(`the model of the request cannot be read: ${problem}`, models);
  if (namesOtherPath(exchange)) return refuse("a header names another path", models);
  return decideModelByTarget(spend, exchange, route);
}

/** As `X-Original-URL`, which some servers prefer to the path: it may name another model. */
function namesOtherPath({ req: { rawHeaders, socket }, clientAddress }: Exchange): boolean {
  const isFromProxy = socket.remoteAddress?.endsWith(clientAddress) === false;
  return findOverrides({ rawHeaders, isFromProxy, ...NO_PARAMETERS })?.isForAnyPath === true;
}

/** Again for a target that a hook changed. */
export function decideModelByTarget(
  { models }: Pick<Spend, "models">,
  { hasBody, method }: Pick<Exchange, "hasBody" | "method">,
  { base, path, query }: Route,
): GatewayError | undefined {
  if (models.length === 0) return undefined;
  const isRead = !hasBody && READING_METHODS.has(method);
  return decideTarget(modelsInTarget(isRead ? "" : base.prefix + path, query), models);
}

/** The exchange then has the body, if it was read. @returns the refusal of its model, or of its budget after a wait. @throws GatewayError where it cannot be read. */
export async function prepareRequest(
  spend: Spend,
  exchange: Exchange,
  route: Route,
  parts: PrepareParts,
): Promise<GatewayError | undefined> {
  const { models } = spend;
  // Others may have spent the rest while it waited for a rate limit.
  const spent = exchange.limitWaitMs > 0 ? await decideBudget(spend, parts.spending) : undefined;
  if (spent !== undefined) return spent;
  const mayChange = asksForUsage(spend, exchange, route, parts);
  if (!exchange.hasBody || (models.length === 0 && !mayChange)) return undefined;
  const limits = { ...limitsOf(route, parts), ...(models.length === 0 ? UNANNOUNCED : {}) };
  const oversized = decideBodySize(exchange, limits);
  if (oversized !== undefined) return oversized;
  const body = exchange.body ?? (await read(spend, exchange, limits));
  if (models.length > 0 && body.length > 0) {
    const named = modelsInTarget(route.base.prefix + route.path, route.query);
    const refusal = decideBodyModel(body, named, models);
    if (refusal !== undefined) return refusal;
  }
  const changed = mayChange ? withUsage(body) : undefined;
  if (changed !== undefined) {
    exchange.body = changed;
    exchange.isBodyChanged = true;
  }
  return undefined;
}

async function read(spend: Spend, exchange: Exchange, limits: BodyLimits): Promise<Buffer> {
  spend.releaseBody = () => limits.budget.release(exchange.bytesIn, exchange.clientAddress);
  const body = await readSignedBody(exchange, limits);
  exchange.body = body;
  exchange.bodyReadAt = performance.now() - exchange.limitWaitMs;
  return body;
}

/** A body that announces more is not read for this alone: without usage its stream is charged by an estimate. */
function asksForUsage(
  { isCounting }: Spend,
  exchange: Exchange,
  { base, path, prepared }: Route,
  { signedBodies: held }: PrepareParts,
): boolean {
  const { hasBody, announcedBytes = BODY_BYTES_LIMIT, req } = exchange;
  // A signed body is forwarded as its signature has it.
  if (!isCounting || !hasBody || exchange.method !== "POST" || prepared.service.access === "signature") return false;
  const hasRoom = announcedBytes <= BODY_BYTES_LIMIT && held.taken + announcedBytes <= held.limit / 2;
  if (!hasRoom || prepared.placePlan?.formFields.length) return false;
  return knowsUsageOption(base.prefix + path) && whyUnreadable(req.rawHeaders) === undefined;
}

function limitsOf({ prepared: { service } }: Route, { signedBodies, retryAfterS }: PrepareParts): BodyLimits {
  const own = service.maxBodyBytes;
  return {
    serviceKey: service.key,
    maxBodyBytes: own > 0 ? Math.min(own, BODY_BYTES_LIMIT) : BODY_BYTES_LIMIT,
    option: "maxBodyBytes",
    bodies: "bodies whose model is checked",
    hint: "Send a smaller body, or use a key without `models`: the gateway reads the model in bodies of up to 1 MiB.",
    timeoutMs: service.timeoutMs,
    budget: signedBodies,
    retryAfterS,
  };
}
