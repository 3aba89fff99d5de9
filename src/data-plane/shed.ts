/**
 * Refuses for load, before any work is done for a request. Only what is proxied is shed: health, metrics and management
 * keep answering.
 */
import type { GatewayError } from "../errors.ts";
import type { Connections } from "../perimeter/connections.ts";
import type { Gauge, PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Exchange } from "./exchange.ts";
import type { PreparedService } from "./prepared-service.ts";
import { refuseForLoad } from "./refuse-for-load.ts";

export interface ShedParts {
  readonly monitor: PressureMonitor;
  /** Of all proxied requests: MAX_IN_FLIGHT. */
  readonly inFlight: Slots;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
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
  if (inFlight.isFull) {
    const { taken: value, limit } = inFlight;
    const words = `${value} requests are in flight`;
    return refuseForLoad({ gauge: "inFlight", value, limit, setting: "MAX_IN_FLIGHT", words }, retryAfterS);
  }
  return undefined;
}

/** For one service, whose cap its callers alone may learn of. */
export function decideServiceShed(slots: Slots, serviceKey: string, retryAfterS: number): GatewayError | undefined {
  if (!slots.isFull) return undefined;
  const { taken: value, limit } = slots;
  const words = `${value} requests to ${serviceKey} are in flight`;
  return refuseForLoad({ gauge: "concurrent", value, limit, setting: "its maxConcurrent", words }, retryAfterS);
}

/** For a WebSocket, which holds its place for as long as it is open. @param all MAX_WEBSOCKETS. */
export function decideWebSocketShed(
  all: Slots,
  { webSocketSlots: ofService, service: { key } }: PreparedService,
  retryAfterS: number,
): GatewayError | undefined {
  if (all.isFull) {
    const { taken: value, limit } = all;
    const words = `${value} WebSockets are open`;
    return refuseForLoad({ gauge: "webSockets", value, limit, setting: "MAX_WEBSOCKETS", words }, retryAfterS);
  }
  if (!ofService.isFull) return undefined;
  const { taken: value, limit } = ofService;
  const words = `${value} WebSockets to ${key} are open`;
  const setting = "its maxWebSockets";
  return refuseForLoad({ gauge: "webSocketsOfService", value, limit, setting, words }, retryAfterS);
}
