/**
 * Responds to a client with a stored response. It goes through the relay, so that links, CORS, cookies and the headers of the gateway
 * follow the rules of every other response.
 */

import { openClientSink } from "../forward/client-sink.ts";
import type { Flow } from "../forward/transport/transport-contract.ts";
import type { CacheOutcome } from "./cache-outcome.ts";
import { type CachedRequest, NO_TRAILERS } from "./reader.ts";
import { selectResponse } from "./select-response.ts";
import type { ServiceCache } from "./service-cache.ts";
import { ageMsOf, type StoredResponse } from "./stored-response.ts";

/** The whole response is there. */
const NO_FLOW: Flow = { pause() {}, resume() {}, abort() {} };

/** Of a body that a slow client keeps in memory. */
const HELD_BYTES = 65_536;

/** RFC 9111 section 1.2.2. */
const LARGEST_AGE_S = 2_147_483_648;

/** @returns resolves when the client has the response, or has left. @throws GatewayError for a head that cannot be sent. */
export function respondFromStore(
  cached: CachedRequest,
  stored: StoredResponse,
  outcome: CacheOutcome,
  { clock, store }: Pick<ServiceCache, "clock" | "store">,
): Promise<void> {
  const { exchange, rules } = cached;
  const ageS = Math.min(LARGEST_AGE_S, Math.floor(ageMsOf(stored, clock.now()) / 1_000));
  // It is read before anything else can run, so that no copy is needed.
  stored.headers.age = String(ageS);
  const response = selectResponse(stored, rules, exchange.method, clock.wallNow());
  exchange.cache = outcome;
  const relay = openClientSink(cached, false);
  relay.start(response, NO_FLOW);
  // Unless the upstream validated it, the time is not the upstream's.
  if (outcome.state !== "revalidated") exchange.respondedAt = 0;
  relay.end(NO_TRAILERS, response.body.length === 0 ? undefined : response.body);
  // What fits into the buffers of the socket is soon gone from here.
  return response.body.length > HELD_BYTES ? relay.closed.finally(store.hold(stored)) : relay.closed;
}
