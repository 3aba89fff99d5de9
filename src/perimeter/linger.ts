/**
 * Ends a client's connection after the gateway's response to a request that was not read to its end.
 * Invariant: unread bytes at close would make the kernel send RST, and the client would lose the response. So the sending
 * side is shut first, and what still arrives is discarded: many clients read their response only after they have sent everything.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { StreamRequest } from "./http2/stream-request.ts";

/** How long a client may continue sending after its response, ms. */
const LINGER_MS = 30_000;

/** The same for a client that sends nothing more, ms: how often it is checked. */
const SILENCE_MS = 5_000;

/** Ends a socket after what was written to it. */
export function linger(socket: Duplex): void {
  if (socket.writable) socket.end();
  socket.resume();
  destroyOnceSilent(socket as Socket);
}

/** Lets the connection linger once the response to this request has been sent. A stream of HTTP/2 needs none: it ends by itself. */
export function lingerBeforeClose(req: IncomingMessage): void {
  if (req instanceof StreamRequest) return;
  const { socket } = req;
  let isLingering = false;
  // node:http closes through this method after a response with `Connection: close`.
  socket.destroySoon = () => {
    if (isLingering) return;
    isLingering = true;
    socket.end();
    req.resume();
    destroyOnceSilent(socket);
  };
}

/** Discards what still arrives of a request that has its response, on a connection that stays open. @param withinMs for all of it. */
export function discardRest(req: IncomingMessage, withinMs = LINGER_MS): void {
  if (req.complete || req instanceof StreamRequest) return;
  const timer = setTimeout(() => req.socket.destroy(), withinMs);
  timer.unref();
  for (const event of ["end", "close"]) req.once(event, () => clearTimeout(timer));
  req.resume();
}

/** Discards what still arrives, then closes the connection. */
export function discardUnread(req: IncomingMessage): void {
  if (req.complete) return;
  lingerBeforeClose(req);
  discardRest(req);
}

function destroyOnceSilent(socket: Socket): void {
  let checksLeft = LINGER_MS / SILENCE_MS;
  let { bytesRead } = socket;
  const timer = setInterval(() => {
    if (socket.bytesRead === bytesRead || --checksLeft <= 0) socket.destroy();
    bytesRead = socket.bytesRead;
  }, SILENCE_MS);
  timer.unref();
  socket.once("close", () => clearInterval(timer));
}
