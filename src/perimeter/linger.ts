/**
 * Ends a client's connection after the gateway's response to a request that was not read to its end.
 * Invariant: unread bytes at close would make the kernel send RST, and the client would lose the response. So the sending
 * side is shut first, and what still arrives is discarded for a moment.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

/** How long a client may continue sending after its response, ms: enough to read the response before the reset. */
const LINGER_MS = 2_000;

/** The same where the connection stays open, ms: a client may read its response only after it has sent everything. */
const REST_MS = 30_000;

/** Ends a socket after what was written to it. */
export function linger(socket: Duplex): void {
  if (socket.writable) socket.end();
  socket.resume();
  destroyAfter(socket, LINGER_MS);
}

/** Lets the connection linger once the response to this request has been sent. */
export function lingerBeforeClose(req: IncomingMessage): void {
  const { socket } = req;
  // node:http closes through this method after a response with `Connection: close`.
  socket.destroySoon = () => {
    socket.end();
    req.resume();
    destroyAfter(socket, LINGER_MS);
  };
}

/** Discards what still arrives of a request that has its response, on a connection that stays open. @param withinMs for all of it. */
export function discardRest(req: IncomingMessage, withinMs = REST_MS): void {
  if (req.complete) return;
  const timer = setTimeout(() => req.socket.destroy(), withinMs);
  timer.unref();
  for (const event of ["end", "close"]) req.once(event, () => clearTimeout(timer));
  req.resume();
}

function destroyAfter(socket: Duplex, ms: number): void {
  const timer = setTimeout(() => socket.destroy(), ms);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
}
