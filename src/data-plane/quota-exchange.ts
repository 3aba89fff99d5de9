/** What the quota of a service needs to know of an exchange. */
import type { Exchange } from "./exchange.ts";
import type { UpstreamRequest } from "./forward/upstream-request.ts";
import type { Route } from "./identify.ts";
import type { QuotaExchange } from "./quota/pass-contract.ts";

export function quotaExchange(
  exchange: Exchange,
  { prepared: { service, credential }, path }: Route,
  { headers }: Pick<UpstreamRequest, "headers">,
): QuotaExchange {
  const sourceId = credential.place === "header" || credential.place === "query" ? credential.value : undefined;
  return { exchange, service, path, sourceId, headers };
}
