/** The slots of a request that waited without them: it takes them again before it goes on. */
import type { Slots } from "../pressure/slots.ts";
import type { Exchange } from "./exchange.ts";
import { decideInFlight, decideServiceShed } from "./load.ts";
import type { PreparedService } from "./prepared-service.ts";

export interface SlotParts {
  /** Slots of all proxied requests: MAX_IN_FLIGHT. */
  readonly inFlight: Slots;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
}

/** @param maxWaitMs of the whole wait. @throws GatewayError where the slots do not become free in time. */
export async function reacquireSlots(
  exchange: Exchange,
  { slots, service }: Pick<PreparedService, "slots" | "service">,
  maxWaitMs: number,
  { inFlight, retryAfterS }: SlotParts,
): Promise<void> {
  while (!(await exchange.reacquireSlots(maxWaitMs))) {
    const full = decideInFlight(inFlight, retryAfterS) ?? decideServiceShed(slots, service.key, retryAfterS);
    if (full !== undefined) throw full;
  }
}
