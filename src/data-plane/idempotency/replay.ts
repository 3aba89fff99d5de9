/**
 * Responds with a kept response. It goes through the hooks and the relay, so that links, CORS and the headers of the gateway follow the
 * rules of every other response.
 */
import type { KeptResponse } from "../../stores/claims.ts";
import { type Client, openClientSink } from "../forward/client-sink.ts";
import { noFields } from "../forward/transport/response-fields.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";

/** The whole response is there. */
const NO_FLOW: Flow = { pause() {}, resume() {}, abort() {} };

/** @returns resolves when the client has the response, or has left. @throws GatewayError for a head that cannot be sent. */
export function replay(client: Client, { status, reason, headers, body }: KeptResponse): Promise<void> {
  const relay = openClientSink(client, false);
  const fields = Object.assign(noFields(), headers, { "idempotency-replayed": "true" });
  relay.start({ status, reason, headers: fields }, NO_FLOW);
  // The time is not the upstream's.
  client.exchange.respondedAt = 0;
  relay.end(noFields(), body.length === 0 ? undefined : body);
  return relay.closed;
}
