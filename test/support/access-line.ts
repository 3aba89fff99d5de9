/** An exchange as the data plane records it. */
import type { AccessLine } from "../../src/telemetry/access-line.ts";

export function accessLineOf(requestId: string, more: Partial<AccessLine> = {}): AccessLine {
  return {
    time: 1_795_907_359_178,
    requestId,
    service: "api",
    method: "GET",
    url: `/proxy/api/${requestId}`,
    host: undefined,
    status: 200,
    bytesIn: 0,
    bytesOut: 2,
    durationUs: 100,
    upstreamUs: 50,
    queuedUs: 0,
    quota: "none",
    attempts: 1,
    client: "127.0.0.1",
    caller: "proxy-key",
    outcome: "relayed",
    ...more,
  };
}
