/**
 * Refuses what there is no connection to the upstream for: `maxConnections` are busy, and whoever may wait for one does.
 * Invariant: what is refused here was not sent.
 */
import { GatewayError } from "../../errors.ts";
import type { PreparedService } from "../prepared-service.ts";
import { refuseForLoad } from "../refuse-for-load.ts";

type Limited = Pick<PreparedService, "service" | "transport">;

/** For a request that comes anew. */
export function decideConnection({ service, transport }: Limited, retryAfterS: number): GatewayError | undefined {
  if (!transport.isFull) return undefined;
  const { pending: value, pendingLimit: limit } = transport.connections();
  const words = `${value} requests wait for a connection to ${service.key}`;
  return refuseForLoad({ gauge: "pending", value, limit, setting: "its maxPending", words }, retryAfterS);
}

/** For one that waits, for a connection or for its next attempt, when the process ends: what is under way may take all the time that is left. */
export function decideDrain({ service, transport }: Limited): GatewayError | undefined {
  if (!transport.isDraining) return undefined;
  const message = `The gateway ends before ${service.key} could be asked.`;
  return new GatewayError("SHUTTING_DOWN", { message });
}

/** For one that has waited until its deadline. */
export function waitedInVain({ service, transport }: Limited, retryAfterS: number): GatewayError {
  const { busy: value, limit } = transport.connections();
  const words = `No connection to ${service.key} became free within ${service.timeoutMs} ms`;
  const setting = "its maxConnections";
  return refuseForLoad({ gauge: "upstreamConnections", value, limit, setting, words }, retryAfterS);
}
