/**
 * Sends one request on a connection of its own: the handshake of a WebSocket.
 * Invariant: the connection carries no other request, and it ends with this one, unless a 101 gave its socket away.
 */
import type { Dial } from "../egress.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { destroyedByGateway } from "./connection-failure.ts";
import type { Dispatched, ResponseListener, TransportRequest } from "./transport-contract.ts";

const OWNER: ConnectionOwner = {
  idleConnectionMs: 0,
  maxConnectionAgeMs: 0,
  onFree: (connection) => connection.end(destroyedByGateway()),
  onGone: () => {},
};

export function dispatchAlone(dial: Dial, request: TransportRequest, listener: ResponseListener): Dispatched {
  return new Connection(request.origin, dial, OWNER).dispatch(request, listener);
}
