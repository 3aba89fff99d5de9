/**
 * A client whose request waits in a queue of the gateway.
 * Invariant: the request holds no slot while it waits, and leaves the queue as soon as its client leaves.
 */
import type { IncomingMessage } from "node:http";
import { readAhead } from "./client-connection.ts";

/** The part of an exchange that a wait needs. */
export interface WaitingClient {
  readonly req: IncomingMessage;
  /** ms that it waited so far. */
  queuedMs: number;
  /** Called when the client leaves. */
  set onClose(listener: (() => void) | undefined);
  /** Releases its slots while it waits. */
  releaseSlots(): void;
}

/** The exchange releases its slots, and its client may leave at any moment. @returns a function that ends the wait. */
export function startWaiting(exchange: WaitingClient, leave: () => void): () => void {
  const since = performance.now();
  const stopWatching = watchUpgrade(exchange);
  exchange.releaseSlots();
  exchange.onClose = leave;
  return () => {
    exchange.onClose = undefined;
    exchange.queuedMs += performance.now() - since;
    stopWatching();
  };
}

/** The socket of an upgrade is not read by node:http, and only reading shows that the client has left. */
function watchUpgrade({ req: { headers, socket } }: WaitingClient): () => void {
  if (headers.upgrade === undefined) return () => {};
  const early = readAhead(socket);
  const onEnd = () => socket.destroy();
  socket.once("end", onEnd);
  return () => {
    socket.off("end", onEnd);
    early.stop();
    early.unshift();
  };
}
