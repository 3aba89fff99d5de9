/**
 * Refuses requests because of load: for the process, for one service, and for want of a connection to the upstream.
 * Invariant: a request that is refused here was not sent. Only proxied requests are refused: health, metrics and management always
 * respond.
 */
import { GatewayError } from "../errors.ts";
import type { ConnectionExcess, Connections } from "../perimeter/connections.ts";
import { plural } from "../plural.ts";
import type { Gauge, PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Exchange } from "./exchange.ts";
import type { PreparedService } from "./prepared-service.ts";

export interface ShedParts {
  readonly monitor: PressureMonitor;
  /** Of all proxied requests: MAX_IN_FLIGHT. */
  readonly inFlight: Slots;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
}

/** A gauge beyond its limit. */
interface Excess {
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

const GAUGE_WORDS: Readonly<Record<Gauge, (value: number) => string>> = {
  eventLoopDelay: (ms) => `The event loop's delay is ${Math.round(ms)} ms`,
  heapUsed: (bytes) => `The heap in use is ${bytes} bytes`,
  rssBytes: (bytes) => `Resident memory is ${bytes} bytes`,
  eventLoopUtilized: (share) => `The event loop is busy for a share of ${share.toFixed(3)}`,
};

/** For the process as a whole. */
export function decideShed({ req }: Exchange, parts: ShedParts, connections: Connections): GatewayError | undefined {
  const { monitor, inFlight, retryAfterS } = parts;
  const { pressure } = monitor;
  if (pressure !== undefined) {
    return refuseForLoad({ ...pressure, words: GAUGE_WORDS[pressure.gauge](pressure.value) }, retryAfterS);
  }
  const excess = connections.excessOf(req.socket);
  if (excess !== undefined) return refuseForLoad(excess, retryAfterS);
  return decideInFlight(inFlight, retryAfterS);
}

/** For all proxied requests: MAX_IN_FLIGHT. */
export function decideInFlight(slots: Slots, retryAfterS: number): GatewayError | undefined {
  if (!slots.isFull) return undefined;
  const { taken: value, limit } = slots;
  const words = `${plural(value, "request")} in flight`;
  return refuseForLoad({ gauge: "inFlight", value, limit, setting: "MAX_IN_FLIGHT", words }, retryAfterS);
}

/** For the requests of one service: `maxConcurrent`, which only its own callers learn of. */
export function decideServiceShed(slots: Slots, serviceKey: string, retryAfterS: number): GatewayError | undefined {
  if (!slots.isFull) return undefined;
  const { taken: value, limit } = slots;
  const words = `${plural(value, "request")} to ${serviceKey} in flight`;
  return refuseForLoad({ gauge: "concurrent", value, limit, setting: "its maxConcurrent", words }, retryAfterS);
}

/** For a WebSocket, which holds its slots for as long as it is open. @param all MAX_WEBSOCKETS. */
export function decideWebSocketShed(
  all: Slots,
  { webSocketSlots: ofService, service: { key } }: PreparedService,
  retryAfterS: number,
): GatewayError | undefined {
  if (all.isFull) {
    const { taken: value, limit } = all;
    const words = `${plural(value, "WebSocket")} open`;
    return refuseForLoad({ gauge: "webSockets", value, limit, setting: "MAX_WEBSOCKETS", words }, retryAfterS);
  }
  if (!ofService.isFull) return undefined;
  const { taken: value, limit } = ofService;
  const words = `${plural(value, "WebSocket")} to ${key} open`;
  const setting = "its maxWebSockets";
  return refuseForLoad({ gauge: "webSocketsOfService", value, limit, setting, words }, retryAfterS);
}

type Connected = Pick<PreparedService, "service" | "transport">;

/** For a new request: it would have to wait for a connection, and no more requests of its caller may wait for one. */
export function decideConnection(
  { service, transport }: Connected,
  { party }: Exchange,
  retryAfterS: number,
): GatewayError | undefined {
  if (!transport.isFullFor(party)) return undefined;
  const { pending: value, pendingLimit: limit } = transport.connections();
  const words = `${plural(value, "request")} already waiting for a connection to ${service.key}`;
  return refuseForLoad({ gauge: "pending", value, limit, setting: "its maxPending", words }, retryAfterS);
}

/** For a waiting request that had to leave the full queue: its caller has more requests there than the caller of a new one. */
export function displaced({ service, transport }: Connected, retryAfterS: number): GatewayError {
  const { pending: value, pendingLimit: limit } = transport.connections();
  const words = `The queue for a connection to ${service.key} is full, and this caller has the most requests in it`;
  return refuseForLoad({ gauge: "pending", value, limit, setting: "its maxPending", words }, retryAfterS);
}

/** For a request that waits for a connection or for its next attempt when the gateway ends: a request in flight may use the time that is left. */
export function decideDrain({ service, transport }: Connected): GatewayError | undefined {
  if (!transport.isDraining) return undefined;
  const message = `The gateway is ending, so the request to ${service.key} was not sent.`;
  return new GatewayError("SHUTTING_DOWN", { message });
}

/** For a request that waited for a connection until its deadline: all were busy, or its caller had its share of them. */
export function connectionWaitTimeout(
  { service, transport }: Connected,
  { party }: Exchange,
  retryAfterS: number,
): GatewayError {
  const { limitPerCaller } = transport;
  const { busy, limit: all } = transport.connections();
  const isShare = busy < all && party !== "";
  const [value, limit] = isShare ? [limitPerCaller, limitPerCaller] : [busy, all];
  const words = `No connection to ${service.key} became free ${isShare ? "for this caller " : ""}within ${service.timeoutMs} ms`;
  const setting = isShare ? "a caller's share of its maxConnections" : "its maxConnections";
  return refuseForLoad({ gauge: "upstreamConnections", value, limit, setting, words }, retryAfterS);
}

function refuseForLoad({ gauge, value, limit, setting, words }: Excess, retryAfterS: number): GatewayError {
  return new GatewayError("UNDER_PRESSURE", {
    message: `${words}; ${setting} is ${limit}.`,
    headers: ["Retry-After", String(retryAfterS)],
    extra: { pressure: { gauge, value, limit } },
  });
}
