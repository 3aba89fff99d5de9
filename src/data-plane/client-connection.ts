/**
 * Cuts the response to a client, and watches the connection of an upgrade before its response.
 * Invariant: a response that was cut never looks complete.
 */
import type { ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { StreamResponse } from "../perimeter/http2/stream-response.ts";
import { resetConnection } from "../perimeter/wire.ts";

/** How long bytes already received from the upstream may take to reach a client that is being cut off, ms. */
const FLUSH_MS = 2_000;

/**
 * Cuts a response that has begun. One framed by a length or by chunks ends with FIN after the received bytes; one that only the end
 * of the connection frames ends with RST, because FIN would make it look complete. One on a stream of HTTP/2 resets only the stream.
 */
export function cutResponse(res: ServerResponse, isFramed: boolean): void {
  if (res instanceof StreamResponse) return res.cut();
  const { socket } = res.req;
  if (!isFramed) {
    resetConnection(socket);
    return;
  }
  const timer = setTimeout(() => socket.destroy(), FLUSH_MS);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
  // What this tick wrote: from Node 22 on the response has it, not the socket, until the tick is over.
  if (res.writableCorked > 0) res.uncork();
  if (socket.writableLength === 0) socket.destroy();
  else socket.end(() => socket.destroy());
}

/** A client should send nothing before the response to its upgrade, but some do; bytes beyond this limit wait in the socket. */
const EARLY_BYTES_LIMIT = 65_536;

/**
 * Reads what a client sends before the response to its upgrade, because only a socket that is read shows that its client left.
 * @param head what the client sent together with its handshake.
 */
export function readAhead(client: Socket, head: Buffer = Buffer.alloc(0)) {
  const chunks = [head];
  let bytes = head.length;
  const onData = (chunk: Buffer) => {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > EARLY_BYTES_LIMIT) client.pause();
  };
  client.on("data", onData);
  return {
    get bytes() {
      return bytes;
    },
    stop() {
      client.off("data", onData);
      client.pause();
    },
    /** Nothing will read them, but the client's end is still to be seen. */
    discard() {
      client.off("data", onData);
      client.resume();
    },
    unshift() {
      if (bytes > 0) client.unshift(Buffer.concat(chunks));
    },
  };
}
