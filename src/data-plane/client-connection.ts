/**
 * Cuts the response to a client, and watches the connection of an upgrade before its response.
 * Invariant: a response that was cut never looks complete.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";

/** How long bytes already received from the upstream may take to reach a client that is being cut off, ms. */
const FLUSH_MS = 2_000;

/**
 * Cuts an answer that has begun. One framed by a length or by chunks is cut by FIN behind what was received;
 * one that only the connection's end would frame gets RST, because FIN would make it look whole.
 */
export function cutAnswer({ socket }: IncomingMessage, isFramed: boolean): void {
  if (!isFramed) {
    socket.resetAndDestroy();
    return;
  }
  const timer = setTimeout(() => socket.destroy(), FLUSH_MS);
  timer.unref();
  socket.once("close", () => clearTimeout(timer));
  if (socket.writableLength === 0) socket.destroy();
  else socket.end(() => socket.destroy());
}

/** A client should send nothing before its upgrade is answered, but some do; more than this waits in its socket. */
const EARLY_BYTES_LIMIT = 65_536;

/** Of an upgrade: reads what comes before its answer, because only a socket that is read tells that its client has left. */
export function readAhead(client: Socket) {
  const chunks: Buffer[] = [];
  let bytes = 0;
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
    giveBack() {
      if (bytes > 0) client.unshift(Buffer.concat(chunks));
    },
  };
}
