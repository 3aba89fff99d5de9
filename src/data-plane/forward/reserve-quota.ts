/** Reserves the upstream's quota for one exchange; in `hold` mode the exchange waits for it, without its slots. */
import type { Slots } from "../../pressure/slots.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { decideInFlight, decideServiceShed } from "../load.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

export interface ReserveQuotaParts {
  /** Slots of all proxied requests: MAX_IN_FLIGHT. */
  readonly inFlight: Slots;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
}

/** @throws GatewayError where the quota, or the slots that a waiting exchange released, do not become free in time. */
export async function reserveQuota(
  exchange: Exchange,
  { prepared, path }: Route,
  { headers }: UpstreamRequest,
  { inFlight, retryAfterS }: ReserveQuotaParts,
): Promise<void> {
  const { quota, service, credential, slots } = prepared;
  if (quota === undefined) return;
  exchange.quota = quota.passOf({ exchange, service, path, headers, sourceId: credential.sourceId });
  if (!quota.isHolding) return;
  const refusal = await exchange.quota.enter();
  if (refusal !== undefined) throw refusal;
  while (!(await exchange.reacquireSlots(quota.maxWaitMsOf(exchange.req.headers)))) {
    const full = decideInFlight(inFlight, retryAfterS) ?? decideServiceShed(slots, service.key, retryAfterS);
    if (full !== undefined) throw full;
  }
}
