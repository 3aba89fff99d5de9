/**
 * What one running gateway is to the outside: its id, the ids that it gives to requests, and whether it is draining.
 * Invariant: a request that already bears this instance's id is a loop, on both planes.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

export interface Instance {
  readonly id: string;
  /** Set once, at the first signal: from then on answers announce that the connection ends. */
  isDraining: boolean;
  /** The caller's X-Request-Id where it is safe to pass on, else a new one. */
  requestId(req: IncomingMessage | undefined): string;
  /** 508 for a request that came through this instance before (`Via`, RFC 9110 section 7.6.3). */
  findLoop(headers: IncomingHttpHeaders): GatewayError | undefined;
  readonly via: string;
  /** W3C Trace Context, version 00, not sampled: whoever wants the trace starts it. @param uuid names the trace. */
  newTraceparent(uuid?: string): string;
}

const SAFE_REQUEST_ID = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** @param holdsKey true for a text with a key of the gateway's, which must not be passed on as an id either. */
export function createInstance(holdsKey: (text: string) => boolean = () => false): Instance {
  const id = randomBytes(6).toString("hex");
  const viaName = `byteproxy-${id}`;
  return {
    id,
    isDraining: false,
    via: `1.1 ${viaName}`,
    requestId(req) {
      const given = req?.headers["x-request-id"];
      return typeof given === "string" && SAFE_REQUEST_ID.test(given) && !holdsKey(given) ? given : randomUUID();
    },
    findLoop(headers) {
      return headers.via?.includes(viaName) ? new GatewayError("LOOP_DETECTED") : undefined;
    },
    newTraceparent: (uuid = randomUUID()) => traceparent(uuid),
  };
}

/** 32 hex digits of trace and 16 of span from the digits of one UUID; slices, because this runs for nearly every request. */
function traceparent(uuid: string): string {
  const span = uuid.slice(19, 23) + uuid.slice(24);
  return `00-${uuid.slice(0, 8)}${uuid.slice(9, 13)}${uuid.slice(14, 18)}${span}-${span}-00`;
}
