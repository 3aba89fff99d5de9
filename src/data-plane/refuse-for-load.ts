/** The form of every refusal for load: what there is too much of, its limit, and when to come again. */
import { GatewayError } from "../errors.ts";
import type { ConnectionExcess } from "../perimeter/connections.ts";
import type { Gauge } from "../pressure/monitor.ts";

/** What there is too much of. */
export interface Excess {
  readonly gauge:
    | Gauge
    | ConnectionExcess["gauge"]
    | ("inFlight" | "concurrent" | "webSockets" | "webSocketsOfService" | "upstreamConnections" | "pending");
  readonly value: number;
  readonly limit: number;
  /** The variable or key that holds the limit. */
  readonly setting: string;
  /** Begins the message: "The event loop's delay is 312 ms". */
  readonly words: string;
}

export function refuseForLoad({ gauge, value, limit, setting, words }: Excess, retryAfterS: number): GatewayError {
  return new GatewayError("UNDER_PRESSURE", {
    message: `${words}; ${setting} is ${limit}.`,
    headers: ["Retry-After", String(retryAfterS)],
    extra: { pressure: { gauge, value, limit } },
  });
}
