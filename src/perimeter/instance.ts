/**
 * One running gateway as others see it: its id, the ids of its requests, and whether it is draining.
 * Invariant: on both planes a request that already has this instance's id in `Via` is a loop.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

export interface Instance {
  readonly id: string;
  /** Set at the first signal: from then on responses have `Connection: close`. */
  isDraining: boolean;
  /** The client's X-Request-Id where it is safe to forward, else a new id. */
  requestId(req: IncomingMessage | undefined): string;
  /** 508 for a request that came through this instance before (`Via`, RFC 9110 section 7.6.3). */
  findLoop(headers: IncomingHttpHeaders): GatewayError | undefined;
  readonly via: string;
  /** W3C Trace Context, version 00, not sampled: a client that wants a trace starts it. @param uuid names the trace. */
  newTraceparent(uuid?: string): string;
}

const SAFE_REQUEST_ID = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** @param holdsKey true for a text with one of the gateway's keys, which must not be forwarded as a request id. */
export function createInstance(holdsKey: (text: string) => boolean = () => false): Instance {
  const id = randomBytes(6).toString("hex");
  const viaName = `byteproxy-${id}`;
  return {
    id,
    isDraining: false,
    via: `1.1 ${viaName}`,
    requestId(req) {
      const received = req?.headers["x-request-id"];
      return typeof received === "string" && SAFE_REQUEST_ID.test(received) && !holdsKey(received)
        ? received
        : randomUUID();
    },
    findLoop(headers) {
      return headers.via?.includes(viaName) ? new GatewayError("LOOP_DETECTED") : undefined;
    },
    // The digits of one UUID as 32 hex digits of trace and 16 of span; by slices, because this runs for nearly every request.
    newTraceparent(uuid = randomUUID()) {
      const span = uuid.slice(19, 23) + uuid.slice(24);
      return `00-${uuid.slice(0, 8)}${uuid.slice(9, 13)}${uuid.slice(14, 18)}${span}-${span}-00`;
    },
  };
}
