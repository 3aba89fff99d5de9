/** Our own limit of a service: `decide` looks, `spend` takes a point. Async, because a shared store will answer one day. */
import { GatewayError } from "../errors.ts";
import type { LimitState, LimitSubject } from "../limits/limiters.ts";
import { refusalFields, secondsToReset } from "../limits/rate-limit-fields.ts";
import type { PreparedService } from "./prepared-service.ts";

/** The refusal of a state that is exceeded. @param now ms since the epoch. */
export function decideRateLimit(state: LimitState, serviceKey: string, now: number): GatewayError | undefined {
  if (!state.isExceeded) return undefined;
  const seconds = secondsToReset(state);
  return new GatewayError("RATE_LIMIT_EXCEEDED", {
    message: `Rate limit exceeded for ${serviceKey}. Resets in ${seconds} second${seconds === 1 ? "" : "s"}.`,
    headers: refusalFields(state, now),
  });
}

/** Spends one point; undefined for a service without a limit. @throws GatewayError RATE_LIMIT_EXCEEDED. */
export async function spendRateLimit(
  prepared: PreparedService,
  subject: LimitSubject,
): Promise<LimitState | undefined> {
  if (prepared.limiter === undefined) return undefined;
  const state = await prepared.limiter.spend(subject);
  const refusal = decideRateLimit(state, prepared.service.key, Date.now());
  if (refusal !== undefined) throw refusal;
  return state;
}
