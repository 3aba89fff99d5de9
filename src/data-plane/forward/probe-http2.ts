/**
 * The request of a probe to an upstream that is reached by HTTP/2.
 * Invariant: it uses a connection of its own, which ends with it, so that each phase of connecting is seen.
 */
import type { Socket } from "node:net";
import type { PreparedService } from "../prepared-service.ts";
import type { Dial } from "./egress.ts";
import { Http2Transport } from "./transport/http2/http2-transport.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { ResponseListener } from "./transport/transport-contract.ts";

export interface Http2Probe {
  readonly path: string;
  /** Flat list. */
  readonly headers: readonly string[];
  readonly onSocket: (socket: Socket) => void;
  readonly onTunnel: () => void;
  readonly withinMs: number;
  readonly createTimeout: () => Error;
}

/** @throws the transport's error, or that of `createTimeout`. */
export async function askOverHttp2(
  { dial, service, base }: PreparedService,
  { path, headers, onSocket, onTunnel, withinMs, createTimeout }: Http2Probe,
): Promise<{ readonly status: number; readonly headers: ResponseHeaders }> {
  const followed: Dial = Object.assign(
    (target: Parameters<Dial>[0], callback: Parameters<Dial>[1]) => dial({ ...target, onSocket, onTunnel }, callback),
    { resolve: dial.resolve },
  );
  const transport = new Http2Transport(followed, { ...service, maxConnections: 1, maxPending: 0 });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(createTimeout()), withinMs);
      const request = { party: "", origin: base.origin, method: "GET", path, headers, body: null };
      const listener = firstOf((status, received) => resolve({ status, headers: received }), reject);
      transport.dispatch({ ...request, contentLength: undefined }, listener, "new");
    });
  } finally {
    clearTimeout(timer);
    void transport.close();
  }
}

function firstOf(
  onResponse: (status: number, headers: ResponseHeaders) => void,
  onError: (error: Error) => void,
): ResponseListener {
  return {
    onWaited() {},
    onTurn: () => true,
    onRequestStart() {},
    onInterimResponse() {},
    onResponseStart: (_flow, status, headers) => onResponse(status, headers),
    onResponseData() {},
    onResponseEnd() {},
    onResponseError: onError,
    onUpgrade() {},
  };
}
