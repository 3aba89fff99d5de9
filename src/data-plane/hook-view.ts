/**
 * What user hooks learn of an exchange and of its caller.
 * Invariant: no key, no digest of one, and no object of the gateway's own is among it.
 */
import type { HookCaller, HookExchange } from "../hooks/contract.ts";
import type { Exchange } from "./exchange.ts";

export function describeExchange(exchange: Exchange, signal: AbortSignal): HookExchange {
  return {
    requestId: exchange.id,
    service: exchange.serviceKey,
    method: exchange.method,
    clientAddress: exchange.clientAddress,
    signal,
  };
}

export function hookCaller({ callerId, issued }: Exchange): HookCaller {
  return Object.freeze({ id: callerId, name: issued?.isToken === undefined ? issued?.key.name : undefined });
}
