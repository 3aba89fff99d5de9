/** What the quota of a service is told of an exchange: of its route the path alone, of its service what is asked of that. */
import type { Exchange } from "./exchange.ts";
import type { UpstreamRequest } from "./forward/upstream-request.ts";
import type { Route } from "./identify.ts";
import type { QuotaExchange } from "./quota/pass-contract.ts";

export function quotaExchange(
  exchange: Exchange,
  { prepared: { service, credential }, path }: Route,
  { headers }: Pick<UpstreamRequest, "headers">,
): QuotaExchange {
  return { exchange, service, credential, path, headers };
}
