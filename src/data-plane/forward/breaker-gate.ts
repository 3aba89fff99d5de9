/**
 * Where an attempt meets its service's breaker: may it be made, and what did it say of the upstream.
 * Invariant: only what the upstream did counts; a client that left and what we refuse ourselves count neither way.
 */
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import type { PreparedService } from "../prepared-service.ts";
import { NO_PASS } from "./breaker.ts";
import type { BreakerState } from "./breaker-state.ts";
import { isUpstreamsFault } from "./failures.ts";

type Guarded = Pick<PreparedService, "service" | "breaker">;

/** The status of an answer, why there was none, or undefined where nobody waited for one. */
export type AttemptOutcome = number | GatewayError | undefined;

/** Whether it is worth going on; takes nothing. */
export function decideBreaker({ service, breaker }: Guarded): GatewayError | undefined {
  return breaker === undefined || breaker.admits ? undefined : circuitOpen(service.key, breaker.describe());
}

/**
 * A pass for one attempt, to be given back by `settleBreaker`.
 * @param lastFailure of the attempt before. @throws GatewayError that, else CIRCUIT_OPEN, where none may be made.
 */
export function enterBreaker({ service, breaker }: Guarded, lastFailure?: GatewayError): number {
  if (breaker === undefined) return NO_PASS;
  const pass = breaker.enter(service.timeoutMs);
  if (pass === NO_PASS) throw lastFailure ?? circuitOpen(service.key, breaker.describe());
  return pass;
}

/** To be called as soon as the upstream's headers are there: a body may take for ever. */
export function settleBreaker({ breaker }: Guarded, pass: number, outcome: AttemptOutcome): void {
  if (breaker === undefined) return;
  if (typeof outcome === "number") {
    if (outcome < 500) breaker.succeeded(pass);
    else breaker.failed(pass);
  } else if (outcome !== undefined && isUpstreamsFault(outcome)) breaker.failed(pass);
  else breaker.abandoned(pass);
}

function circuitOpen(serviceKey: string, { failures, requests, retryAfter }: BreakerState): GatewayError {
  const next =
    retryAfter === null
      ? "one attempt is finding out whether it is back"
      : `it is tried again in ${plural(retryAfter, "second")}`;
  return new GatewayError("CIRCUIT_OPEN", {
    message: `${failures} of ${requests} attempts at ${serviceKey} failed; ${next}.`,
    headers: ["Retry-After", String(retryAfter ?? 1)],
  });
}
