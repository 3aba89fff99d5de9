/**
 * The steps of `pipeline.ts`, in their order, over a request that nobody sent.
 * Invariant: it asks what the pipeline asks (`decide…`) and does nothing that the pipeline does: no place is taken, no point is
 * spent, nothing is sent, and no secret is in what it tells. `test/scenarios/explain.test.ts` holds it to the pipeline's verdicts.
 */
import type { Caller } from "../../callers/callers.ts";
import { readPresentedKeys } from "../../callers/presented-keys.ts";
import { credentialState } from "../../config/credential-state.ts";
import { GatewayError } from "../../errors.ts";
import { secondsToReset } from "../../limits/rate-limit-fields.ts";
import type { Connections } from "../../perimeter/connections.ts";
import { findMalformed, isWebSocketUpgrade } from "../../perimeter/framing.ts";
import { type ParsedRequest, parseRequest } from "../../perimeter/parser.ts";
import type { Fingerprint } from "../../stores/installation-key.ts";
import { maskQuery } from "../../telemetry/redact.ts";
import { decideAuthorization, decidePermission } from "../authorize.ts";
import { Exchange } from "../exchange.ts";
import { decideBreaker } from "../forward/breaker-gate.ts";
import { decideConnection } from "../forward/connection-limit.ts";
import { forbiddenUrl } from "../forward/egress.ts";
import { egressRefusal } from "../forward/explain-failure.ts";
import { createUpstreamRequest } from "../forward/upstream-request.ts";
import { decideRoute, type Identified, identify, type Route } from "../identify.ts";
import { decideCredential } from "../inject-credential/inject-credential.ts";
import type { PipelineParts } from "../pipeline.ts";
import type { PreparedService } from "../prepared-service.ts";
import { quotaExchange } from "../quota-exchange.ts";
import { decideKeyLimit, decideRateLimit } from "../rate-limit.ts";
import { decideServiceShed, decideShed, decideWebSocketShed } from "../shed.ts";
import { describeUpstream } from "./describe-upstream.ts";
import type { ExplainedCredential, Explanation, RequestToExplain } from "./explanation.ts";
import { StepLog } from "./step-log.ts";

export interface DryRunParts extends PipelineParts {
  readonly fingerprint: Fingerprint;
  /** Of the listener that callers come in by. */
  readonly connections: () => Connections;
}

/** @throws GatewayError VALIDATION_ERROR for a caller that there is not. */
export type DryRun = (request: RequestToExplain) => Promise<Explanation>;

export function createDryRun(parts: DryRunParts): DryRun {
  return async function explain(request) {
    const log = new StepLog();
    const parsed = log.take("framing", await parseRequest(request));
    if (parsed === undefined) return conclude(request, log);
    try {
      return await walk(request, parsed, log, parts);
    } finally {
      parsed.end();
    }
  };
}

/** Goes on behind a refusal, so that whoever mends it knows what comes next. */
async function walk(request: RequestToExplain, { req, res }: ParsedRequest, log: StepLog, parts: DryRunParts) {
  const { instance, callers, cors } = parts;
  const exchange = new Exchange(req, res, instance.requestId(req), parts.clients.addressOf(req));
  const { clientAddress: address } = exchange;
  log.take("framing", findMalformed(req));
  log.take("loop", instance.findLoop(req.headers));
  if (!callers.isProtected("proxy")) log.take("open plane", parts.guardOpenPlane(req.headers));

  const identified = identify(request.target, parts.findPrepared);
  const preflight = cors.decidePreflight(req, identified.prepared?.methods);
  const isPreflight = preflight !== undefined && log.take("preflight", preflight) !== undefined;
  if (isPreflight) return conclude(request, log, { address, identified, isPreflight });
  log.take("shed", decideShed(exchange, parts, parts.connections()));

  const caller = log.take("authenticate", decideWho(request, exchange, identified, parts));
  const route = log.take("route", decideRoute(identified, parts.registry));
  if (route === undefined) return conclude(request, log, { address, identified, caller });
  const { prepared } = route;
  const { key } = prepared.service;
  if (caller !== undefined) log.take("permission", decidePermission(exchange, route, caller));
  log.take("authorize", decideAuthorization(exchange, prepared));
  log.take("credential", decideCredential(prepared.credential, key));
  log.take("service shed", decideServiceShed(prepared.slots, key, parts.retryAfterS));
  if (isWebSocketUpgrade(req)) {
    log.take("WebSocket shed", decideWebSocketShed(parts.webSockets, prepared, parts.retryAfterS));
  }
  if (prepared.breaker !== undefined) log.take("breaker", decideBreaker(prepared));
  if (!isWebSocketUpgrade(req)) log.take("connections", decideConnection(prepared, parts.retryAfterS));
  const keyLimit = await parts.keyLimits.of(caller?.issued)?.peek({ callerId: caller?.id ?? "", address });
  if (keyLimit !== undefined) log.take("key's rate limit", decideKeyLimit(keyLimit, Date.now()));
  const limit = await prepared.limiter?.peek({ callerId: caller?.id ?? "", address });
  if (limit !== undefined) log.take("rate limit", decideRateLimit(limit, key, Date.now()));
  const upstreamRequest = createUpstreamRequest(exchange, route, parts);
  exchange.callerId = caller?.id ?? "";
  const quota = prepared.quota?.isHolding
    ? log.take("quota", await prepared.quota.decide(quotaExchange(exchange, route, upstreamRequest)))
    : undefined;
  log.take("egress", decideEgress(route));
  return {
    ...conclude(request, log, { address, identified, caller }),
    upstream: describeUpstream(exchange, route, request.headers, upstreamRequest),
    credential: describeCredential(prepared, parts.fingerprint),
    rateLimit:
      limit === undefined
        ? null
        : { per: limit.per, limit: limit.limit, remaining: limit.remaining, resetIn: secondsToReset(limit) },
    breaker: prepared.breaker?.describe() ?? null,
    quota: quota === undefined ? null : { bucket: quota.bucket, waitMs: Math.ceil(quota.waitMs) },
  };
}

function decideWho(
  { callerId }: RequestToExplain,
  { req, clientAddress: address }: Exchange,
  { query, prepared }: Identified,
  { callers }: DryRunParts,
): Caller | GatewayError {
  const access = prepared?.service.access;
  if (callerId === undefined) {
    const presented = readPresentedKeys(req.rawHeaders, query);
    return callers.decide({ plane: "proxy", presented, address }, access);
  }
  const assumed = callers.assume(callerId, access);
  if (assumed !== undefined) return assumed;
  throw new GatewayError("VALIDATION_ERROR", {
    message: "There is no such caller.",
    extra: { details: { caller: ["allowed: the caller of an access line, such as proxy-key or anonymous"] } },
  });
}

/** As far as it can be told without asking a resolver: the rest is told by the attempt itself. */
function decideEgress({ prepared: { service, egress }, base }: Route): GatewayError | undefined {
  const reason = egress && forbiddenUrl(base.origin, egress);
  return reason === undefined ? undefined : egressRefusal(service.key, reason);
}

interface Known {
  readonly address: string;
  readonly identified: Identified;
  readonly caller?: Caller | undefined;
  readonly isPreflight?: boolean;
}

function conclude({ method, target, address }: RequestToExplain, log: StepLog, known?: Known): Explanation {
  const asked = known?.isPreflight === true ? "preflight" : "forward";
  return {
    verdict: log.refusal === null ? asked : "refuse",
    refusal: log.refusal,
    request: {
      method,
      path: maskQuery(target),
      address: known?.address ?? address,
      caller: known?.caller?.id ?? null,
    },
    service: known?.identified.prepared?.service.key ?? null,
    steps: log.steps,
    upstream: null,
    credential: null,
    rateLimit: null,
    breaker: null,
    quota: null,
  };
}

function describeCredential({ service, credential }: PreparedService, fingerprint: Fingerprint): ExplainedCredential {
  const secret = service.credential?.secret?.reveal();
  return {
    state: credentialState(service),
    type: service.auth?.type ?? null,
    place:
      credential.place === "header" || credential.place === "query" ? `${credential.place} ${credential.name}` : null,
    source: service.credential?.source ?? null,
    fingerprint: secret === undefined ? null : fingerprint.credential(secret),
  };
}
