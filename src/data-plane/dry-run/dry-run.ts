/**
 * The admission walk over a request that no client sent, then what the upstream would receive.
 * Invariant: it makes the pipeline's own decisions and commits nothing: no slot is taken, no point is spent, nothing is sent, and the
 * explanation holds no secret. `test/scenarios/explain.test.ts` compares it with the pipeline.
 */

import { assumedCertificate } from "../../callers/client-certificate.ts";
import { KEY_FORM_NAMES } from "../../callers/presented-keys.ts";
import { describeOnlyCommand, describeSecrets, identityOf } from "../../config/credential-source.ts";
import { credentialState } from "../../config/credentials.ts";
import { type ProxyUse, proxyUrlFor } from "../../config/egress-proxy.ts";
import { describeRotation } from "../../config/rotation-state.ts";
import type { ServiceAddress } from "../../config/service-addresses.ts";
import { writeTemplate } from "../../config/template.ts";
import { describeMessageRule, type MessageRule } from "../../config/ws-schema.ts";
import { GatewayError } from "../../errors.ts";
import { secondsToReset } from "../../limits/rate-limit-fields.ts";
import type { Connections } from "../../perimeter/connections.ts";
import { isWebSocketUpgrade } from "../../perimeter/framing.ts";
import { type ParsedRequest, parseRequest } from "../../perimeter/parser.ts";
import type { Fingerprint } from "../../stores/installation-key.ts";
import { maskQuery } from "../../telemetry/redact.ts";
import {
  type Admission,
  type Arrival,
  mayNeedNoUpstream,
  verifyTokens,
  walkAdmission,
  walkLimits,
} from "../admission.ts";
import { explainCache } from "../cache/explain-cache.ts";
import type { CredentialPlace } from "../credential/credential-provider.ts";
import { Exchange } from "../exchange.ts";
import { decideBreaker } from "../forward/breaker.ts";
import { forbiddenUrl, proxyRules } from "../forward/egress-policy.ts";
import { egressRefusal, proxyAddressRefusal } from "../forward/failures.ts";
import { quotaExchange } from "../forward/quota-gate.ts";
import { createUpstreamRequest } from "../forward/upstream-request.ts";
import { explainIdempotency } from "../idempotency/explain-idempotency.ts";
import type { Route } from "../identify.ts";
import { decideConnection } from "../load.ts";
import type { PipelineParts } from "../pipeline.ts";
import { currentService, type PreparedService } from "../prepared-service.ts";
import { decideClaim } from "../signature/signed-delivery.ts";
import { explainSpend } from "../spend/explain-spend.ts";
import { walkBudget } from "../spend/walk-budget.ts";
import { describeUpstream } from "./describe-upstream.ts";
import { explainPool } from "./explain-pool.ts";
import type { ExplainedCredential, ExplainedPool, Explanation, RequestToExplain } from "./explanation.ts";
import { StepLog } from "./step-log.ts";

export interface DryRunParts extends PipelineParts {
  readonly fingerprint: Fingerprint;
  /** Undefined where the listeners serve plain HTTP. */
  readonly certificate: object | undefined;
  /** Of the listener that would accept the request. */
  readonly connections: (address: ServiceAddress | undefined) => Connections;
}

/** @throws GatewayError VALIDATION_ERROR for a caller that does not exist. */
export type DryRun = (request: RequestToExplain) => Promise<Explanation>;

export function createDryRun(parts: DryRunParts): DryRun {
  return async function explain(request) {
    const log = new StepLog();
    const parsed = log.admit("framing", await parseRequest({ ...request, socket: socketOf(request, parts) }));
    if (parsed === undefined) return conclude(request, log);
    try {
      return await explainParsed(request, parsed, log, parts);
    } finally {
      parsed.end();
    }
  };
}

/** The connection that the request would have: the port of a service has no TLS. */
function socketOf({ serviceAddress, clientCert }: RequestToExplain, parts: DryRunParts): object {
  if (parts.certificate === undefined || serviceAddress?.by === "port") return {};
  const certificate = clientCert === undefined ? undefined : assumedCertificate(clientCert);
  return { encrypted: true, getPeerX509Certificate: () => certificate };
}

/** Continues after a refusal, so that its reader also learns what comes next. */
async function explainParsed(
  request: RequestToExplain,
  { req, res }: ParsedRequest,
  log: StepLog,
  parts: DryRunParts,
): Promise<Explanation> {
  const exchange = new Exchange(req, res, parts.instance.requestId(req), parts.clients.addressOf(req));
  const arrival = {
    connections: parts.connections(request.serviceAddress),
    address: request.serviceAddress,
    isUpgrade: isWebSocketUpgrade(req),
    assumeCaller: assumptionOf(request, parts),
  };
  await verifyTokens(exchange, arrival, parts);
  const admission = walkAdmission(exchange, arrival, log, parts);
  if (admission.kind === "preflight" || admission.route === undefined) {
    return conclude(request, log, { exchange, admission });
  }
  const { route } = admission;
  const { prepared } = route;
  const { signature } = prepared;
  if (signature?.isLimitedFirst === false) log.admit("signature", decideClaim(signature, req.rawHeaders));
  exchange.spend = parts.spending.of(exchange, exchange.issued?.id, prepared.service);
  const { spend } = exchange;
  if (spend !== undefined) {
    await walkBudget(spend, exchange, { route, isUpgrade: arrival.isUpgrade }, { walk: log, parts });
  }
  const forecast = await walkLimits(exchange, prepared, log, parts);
  if (signature?.isLimitedFirst) log.admit("signature", decideClaim(signature, req.rawHeaders));
  const upstreamRequest = createUpstreamRequest(exchange, route, parts);
  const hooks = parts.hooks?.counts.filter(({ phases }) => phases.includes("onRequest")).map(({ name }) => name);
  const cache = prepared.cache && explainCache(prepared.cache, { exchange, route, request: upstreamRequest });
  const idempotency =
    prepared.idempotency === undefined || arrival.isUpgrade
      ? undefined
      : log.admit("idempotency", await explainIdempotency(prepared.idempotency, exchange, upstreamRequest));
  const isServed = cache?.state === "hit" || cache?.state === "stale" || idempotency?.state === "replay";
  if (cache !== undefined) log.admit("cache", undefined);
  if (!arrival.isUpgrade && !isServed && mayNeedNoUpstream(exchange, prepared)) {
    // The admission left these, because a stored response needs no upstream.
    log.admit("breaker", decideBreaker(prepared, exchange));
    log.admit("connections", decideConnection(prepared, exchange, parts.retryAfterS));
  }
  const quota =
    prepared.quota?.isHolding && !isServed
      ? log.admit("quota", await prepared.quota.decide(quotaExchange(exchange, route, upstreamRequest)))
      : undefined;
  log.admit("egress", decideEgress(route));
  const { limit } = exchange;
  return {
    ...conclude(request, log, { exchange, admission }),
    hooks: hooks ?? null,
    upstream: describeUpstream(exchange, route, request.headers, upstreamRequest),
    credential: describeCredential(prepared, parts.fingerprint, explainPool(route, exchange, quota)),
    rateLimit:
      limit === undefined
        ? null
        : {
            per: limit.per,
            limit: limit.limit,
            remaining: limit.remaining,
            resetIn: secondsToReset(limit),
            ...(forecast === undefined ? {} : { waitMs: Math.ceil(forecast.waitMs), position: forecast.position }),
          },
    ...(await explainSpend(spend, parts.spending)),
    breaker: prepared.breaker?.describe() ?? null,
    cache: cache ?? null,
    idempotency: idempotency ?? null,
    quota: quota === undefined ? null : { bucket: quota.bucket, waitMs: Math.ceil(quota.waitMs) },
  };
}

/** Undefined where the request's own headers decide. */
function assumptionOf({ callerId }: RequestToExplain, { callers }: DryRunParts): Arrival["assumeCaller"] {
  if (callerId === undefined) return undefined;
  return (access) => {
    const caller = callers.assume(callerId, access);
    if (caller !== undefined) return caller;
    throw new GatewayError("VALIDATION_ERROR", {
      message: "No caller has this id.",
      extra: { details: { caller: ["allowed: the caller of an access line, such as proxy-key or anonymous"] } },
    });
  };
}

/** As far as the URL alone can decide; the resolved address is checked when a connection is made. */
function decideEgress({ prepared: { service, egress, proxyUse }, base }: Route): GatewayError | undefined {
  const proxy = proxyUrlFor(proxyUse, base.origin);
  const proxyReason = egress && proxy && forbiddenUrl(proxy, proxyRules(proxyUse as ProxyUse, egress));
  const reason = egress && forbiddenUrl(base.origin, egress);
  if (reason !== undefined) return egressRefusal(service.key, reason);
  if (!proxyReason) return undefined;
  return proxyAddressRefusal(service.key, `the address of its egress proxy is ${proxyReason}`);
}

interface Walked {
  readonly exchange: Exchange;
  readonly admission: Admission<undefined>;
}

function conclude({ method, target, address }: RequestToExplain, log: StepLog, walked?: Walked): Explanation {
  const prepared = walked?.admission.identified.prepared;
  const admitted = walked?.admission.kind === "preflight" ? "preflight" : "forward";
  return {
    verdict: log.refusal === null ? admitted : "refuse",
    refusal: log.refusal,
    request: {
      method,
      path: maskQuery(walked?.exchange.url ?? target),
      address: walked?.exchange.clientAddress ?? address,
      caller: walked?.exchange.callerId || null,
    },
    service: prepared?.service.key ?? null,
    keyPlaces: prepared === undefined ? null : [...KEY_FORM_NAMES, ...(prepared.keyPlaces?.names ?? [])],
    steps: log.steps,
    hooks: null,
    upstream: null,
    credential: null,
    rateLimit: null,
    budgets: [],
    models: null,
    breaker: null,
    cache: null,
    idempotency: null,
    quota: null,
  };
}

function describePlace({ kind, name, template }: CredentialPlace): string {
  if (kind === "message") return `message ${describeMessageRule(JSON.parse(name) as MessageRule)}`;
  return kind === "path" || kind === "subprotocol" ? `${kind} ${writeTemplate(template)}` : `${kind} ${name}`;
}

function describeCredential(
  prepared: PreparedService,
  fingerprint: Fingerprint,
  pool: ExplainedPool | undefined,
): ExplainedCredential {
  const { credential } = prepared;
  const service = currentService(prepared);
  const command = describeOnlyCommand(service.credential);
  const identity = identityOf(service.credential);
  const secrets = describeSecrets(service.credential, fingerprint.credential);
  const places = new Set(credential.places.map(describePlace));
  return {
    state: credentialState(service),
    type: service.auth?.type ?? null,
    place: places.size === 0 ? null : [...places].join(", "),
    source: service.credential?.source ?? null,
    fingerprint: identity === undefined ? null : fingerprint.credential(identity),
    ...(secrets === undefined ? {} : { secrets }),
    ...(command === undefined ? {} : { command }),
    ...(service.credential?.rotation === undefined ? {} : { rotation: describeRotation(service.credential.rotation) }),
    ...(pool === undefined ? {} : { pool }),
  };
}
