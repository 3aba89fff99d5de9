/**
 * Counts a request against all its limits in one step, where several gateways share the limits.
 * Invariant: as where each limit is counted alone, no limit is counted after one that is exceeded, and a request does not overtake those
 * that wait for the limit of the service.
 */
import type { LimitState } from "../limits/limit-state.ts";
import type { KeyLimiter, Limiter } from "../limits/limiters.ts";
import { type SharedSpend, SharedWindows } from "../limits/shared-windows.ts";
import type { Exchange } from "./exchange.ts";

/**
 * @param limits of the caller's key. @param limiter of the service.
 * @returns the states in this order, up to one that is exceeded; undefined where there is nothing to count together.
 */
export function spendTogether(
  limits: readonly KeyLimiter[],
  limiter: Limiter | undefined,
  { callerId, clientAddress: address }: Pick<Exchange, "callerId" | "clientAddress">,
): Promise<readonly LimitState[]> | undefined {
  if (limits[0]?.limiter.isShared !== true) return undefined;
  const ofService = limiter?.waitingRoom?.queue.isWaitedFor({ callerId, address }) === true ? undefined : limiter;
  if (limits.length + (ofService === undefined ? 0 : 1) < 2) return undefined;
  const spends: SharedSpend[] = [];
  for (const { id, limiter: each } of limits) {
    const spend = each.sharedSpend({ callerId: id, address });
    if (spend === undefined) return undefined;
    spends.push(spend);
  }
  const last = ofService?.sharedSpend({ callerId, address });
  if (last !== undefined) spends.push(last);
  return SharedWindows.spendTogether(spends);
}
