/** What writes a response to one client: the relay, after the user hooks. */
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { Deadline } from "./deadline.ts";
import type { ForwardParts } from "./forward.ts";
import { HookSink } from "./hook-sink.ts";
import { Relay } from "./relay.ts";
import type { ClientSink } from "./response-sink.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** Another timer watches the upstream, or there is none. */
export const NO_DEADLINE = { touch() {}, enterBody() {}, extend() {} };

export interface Client {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: Pick<UpstreamRequest, "strippedPath">;
  readonly parts: ForwardParts;
}

export function openClientSink(
  { exchange, route, request, parts }: Client,
  wantsTrailers: boolean,
  deadline: Pick<Deadline, "touch" | "enterBody" | "extend"> = NO_DEADLINE,
): ClientSink {
  const relayed = { exchange, route, deadline, wantsTrailers, parts };
  const relay = new Relay(relayed);
  return parts.hooks?.hasOnResponse ? new HookSink(relay, parts.hooks, relayed, request) : relay;
}
