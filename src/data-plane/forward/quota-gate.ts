/** Where an exchange meets the quota of its service: before an attempt in `hold` mode, after a response in `observe` mode. */
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { QuotaExchange } from "../quota/pass-contract.ts";
import type { ServiceQuota } from "../quota/service-quota.ts";
import { reacquireSlots, type SlotParts } from "../reacquire-slots.ts";
import type { EchoMask } from "./echo-mask.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** What the quota needs to know of an exchange. */
export function quotaExchange(exchange: Exchange, { prepared, path }: Route, request: UpstreamRequest): QuotaExchange {
  const { service, credential } = prepared;
  const { pool, sourceId } = credential;
  const member = pool === undefined ? undefined : exchange.poolUse?.chosen;
  return { exchange, service, path, headers: request.headers, sourceId: member?.sourceId ?? sourceId, pool, member };
}

/**
 * Reserves the quota for one attempt. The exchange waits for it without its slots, and acquires them again.
 * @throws GatewayError where the quota or the slots do not become free in time.
 */
export async function holdForQuota(
  exchange: Exchange,
  quota: ServiceQuota,
  route: Route,
  { request, parts }: { readonly request: UpstreamRequest; readonly parts: SlotParts },
): Promise<void> {
  exchange.quota = quota.passOf(quotaExchange(exchange, route, request));
  const refusal = await exchange.quota.enter();
  if (refusal !== undefined) throw refusal;
  await reacquireSlots(exchange, route.prepared, quota.maxWaitMsOf(exchange), parts);
}

/** Reports a response to the quota, which learns the upstream's limits from it. */
export function reportToQuota(
  exchange: Exchange,
  route: Route,
  request: UpstreamRequest,
  { status, headers: received }: { readonly status: number; readonly headers: ResponseHeaders },
): void {
  const { echoMask } = route.prepared;
  const headers = echoMask === undefined ? received : withMaskedNames(received, echoMask);
  if (exchange.quota !== undefined) exchange.quota.responded(status, headers);
  else route.prepared.quota?.observe(quotaExchange(exchange, route, request), status, headers);
}

/** Their values name buckets and windows, which are stored and shown: some upstreams name them by the credential. */
const NAMING = ["x-ratelimit-bucket", "x-ratelimit-resource", "ratelimit", "ratelimit-policy"] as const;

function withMaskedNames(headers: ResponseHeaders, { mask }: EchoMask): ResponseHeaders {
  let masked = headers;
  for (const name of NAMING) {
    const value = headers[name];
    if (value === undefined) continue;
    const texts = [value].flat().map(mask);
    if (String(texts) !== String(value)) masked = { ...masked, [name]: texts };
  }
  return masked;
}
