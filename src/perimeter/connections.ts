/**
 * The client sockets of one listener: counted, capped, and closed when it ends.
 * Invariant: a socket beyond the cap is not reset without a word. It may ask once, to be told that there is no room or
 * that the gateway lives; and there is a bound to those, too.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";

/** Sockets beyond the cap that are still listened to; more are closed at once. */
const SURPLUS_LIMIT = 256;

/** A connection younger than this, ms, may have its first request on the way. */
const UNUSED_MS = 200;

/** How long such a socket has to ask and to read its answer, ms. */
const SURPLUS_MS = 5_000;

export interface Connections {
  /** Sockets open now, upgraded ones included. */
  readonly count: number;
  readonly limit: number;
  /** Beyond the cap: its answer ends it, and nothing is proxied on it. */
  isSurplus(socket: Socket): boolean;
  /** Closes those that carry nothing now. */
  closeIdle(): void;
  /** Ends all, whatever they carry. */
  destroyAll(): void;
}

/**
 * @param limit MAX_CONNECTIONS.
 * @param isIdle for a socket that has sent something: true when all that it asked for is answered and handed over.
 */
export function createConnections(server: Server, limit: number, isIdle: (socket: Socket) => boolean): Connections {
  /** With the time of acceptance. */
  const sockets = new Map<Socket, number>();
  const surplus = new Set<Socket>();
  server.maxConnections = limit + SURPLUS_LIMIT;
  server.on("connection", (socket: Socket) => {
    sockets.set(socket, Date.now());
    if (sockets.size > limit) admitBeyond(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      surplus.delete(socket);
    });
  });

  function admitBeyond(socket: Socket): void {
    surplus.add(socket);
    const timer = setTimeout(() => socket.destroy(), SURPLUS_MS);
    timer.unref();
    socket.once("close", () => clearTimeout(timer));
  }

  // node:http's own would destroy a socket that an answer is still flowing out of, and keep one that was never used.
  server.closeIdleConnections = () => {
    const before = Date.now() - UNUSED_MS;
    for (const [socket, acceptedAt] of sockets) {
      if (socket.bytesRead === 0 ? acceptedAt < before : isIdle(socket)) socket.destroy();
    }
  };

  return {
    get count() {
      return sockets.size;
    },
    limit,
    isSurplus: (socket) => surplus.size > 0 && surplus.has(socket),
    closeIdle: () => server.closeIdleConnections(),
    destroyAll() {
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}
