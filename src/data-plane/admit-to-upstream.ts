/** The checks that the admission leaves to the cache and to idempotency, because a stored response needs no upstream. */
import type { Exchange } from "./exchange.ts";
import { decideBreaker } from "./forward/breaker.ts";
import type { Route } from "./identify.ts";
import { decideConnection } from "./load.ts";

interface Admitted {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly parts: { readonly retryAfterS: number };
}

/** @throws GatewayError */
export function admitToUpstream({ exchange, route: { prepared }, parts }: Admitted): void {
  const refusal =
    (prepared.breaker && decideBreaker(prepared, exchange)) ?? decideConnection(prepared, exchange, parts.retryAfterS);
  if (refusal !== undefined) throw refusal;
}
