/**
 * The client sockets of one listener: counted, capped, and closed when the listener ends or their client stops reading.
 * Invariant: a socket over a cap is not reset silently. It may send one request, and learns from the response that the cap
 * is reached or that the gateway is alive. The number of these surplus sockets is capped, too.
 */
import type { Server, Socket } from "node:net";
import { addressKey } from "../limits/address-key.ts";
import { createStallSweep } from "./stall-sweep.ts";
import { resetConnection, wireOf } from "./wire.ts";

/** A connection younger than this, ms, may have its first request on the way. */
const UNUSED_MS = 200;

/** The same for a connection that has sent part of a request head, ms: an incomplete head must not delay shutdown. */
const HEAD_MS = 1_000;

/** Surplus sockets that are accepted. */
const SURPLUS_LIMIT = 256;

/** Surplus sockets accepted from one address, so that the rest remain for other addresses. */
const SURPLUS_LIMIT_PER_ADDRESS = 16;

/** How long a surplus socket has to send its request and to read the response, ms. */
const SURPLUS_MS = 5_000;

/** The setting that holds the cap. */
type ConnectionCap = "MAX_CONNECTIONS" | "MAX_CONNECTIONS_PER_ADDRESS";

export interface ConnectionLimits {
  /** MAX_CONNECTIONS. */
  readonly all: number;
  /** MAX_CONNECTIONS_PER_ADDRESS, 0 for no cap. */
  readonly perAddress: number;
  /** SEND_TIMEOUT, ms. */
  readonly sendTimeoutMs: number;
  /** Whether this peer may forward many clients: it is in TRUST_PROXY. */
  isTrustedPeer(address: string): boolean;
}

/** The cap that a socket is over. */
export interface ConnectionExcess {
  readonly gauge: "connections" | "connectionsOfAddress";
  readonly value: number;
  readonly limit: number;
  readonly setting: ConnectionCap;
  readonly words: string;
}

export interface Connections {
  /** Sockets open now, upgraded ones included. */
  readonly count: number;
  /** The listener has stopped, and its connections end after their responses. */
  isEnding: boolean;
  readonly limit: number;
  /** 0 for no cap. */
  readonly limitPerAddress: number;
  /** True for a socket over a cap: its first response ends it, and nothing is proxied on it. */
  isSurplus(socket: Socket): boolean;
  /** The cap that a surplus socket is over. */
  excessOf(socket: Socket): ConnectionExcess | undefined;
  has(socket: Socket): boolean;
  /** After its TLS handshake: from now on this socket is used, in place of the TCP socket below it. */
  secure(secured: Socket): void;
  /** Closes the connections without a request. */
  closeIdle(): void;
  /** Ends all connections, busy ones included. */
  destroyAll(): void;
  /** `destroyAll` has ended it: its client has not left. */
  wasCut(socket: Socket): boolean;
}

interface OpenSocket {
  /** The TLS socket, after its handshake. */
  socket: Socket;
  /** On the clock of performance.now(), ms. */
  acceptedAt: number;
  /** What its address is counted under; undefined for a socket that is not counted. */
  readonly addressKey: string | undefined;
}

/**
 * @param listener emits `connection` with each accepted socket, before its TLS handshake.
 * @param isIdle true when every response on the socket has been handed over; undefined before its first request.
 */
export function createConnections(
  listener: Server,
  limits: ConnectionLimits,
  isIdle: (socket: Socket) => boolean | undefined,
): Connections {
  /** By TCP socket. */
  const sockets = new Map<Socket, OpenSocket>();
  const cut = new WeakSet<Socket>();
  const surplus = new SurplusSockets();
  const countsByAddress = new AddressCounts();
  listener.maxConnections = limits.all + SURPLUS_LIMIT;
  listener.on("connection", (socket: Socket) => {
    const key = countedKey(socket, limits);
    const overAddressCap = key === undefined ? 0 : countsByAddress.of(key) + 1 - limits.perAddress;
    const cap = findExceeded(overAddressCap);
    if (cap !== undefined && !surplus.hasRoom(overAddressCap)) {
      socket.destroy();
      return;
    }
    sockets.set(socket, { socket, acceptedAt: performance.now(), addressKey: key });
    if (key !== undefined) countsByAddress.enter(key);
    if (cap !== undefined) surplus.admit(socket, cap);
    socket.once("close", () => {
      sockets.delete(socket);
      if (key !== undefined) countsByAddress.leave(key);
    });
  });
  endStalled(listener, limits, sockets);

  /** Surplus sockets of single addresses do not count towards MAX_CONNECTIONS: they must not keep other clients out. */
  function findExceeded(overAddressCap: number): ConnectionCap | undefined {
    if (overAddressCap > 0) return "MAX_CONNECTIONS_PER_ADDRESS";
    return sockets.size - surplus.overAddressCap >= limits.all ? "MAX_CONNECTIONS" : undefined;
  }

  function excessOf(socket: Socket): ConnectionExcess | undefined {
    // Asked for every request, and almost always there is none.
    const setting = surplus.caps.size === 0 ? undefined : surplus.caps.get(wireOf(socket));
    if (setting === undefined) return undefined;
    if (setting === "MAX_CONNECTIONS") {
      const value = sockets.size;
      return { gauge: "connections", value, limit: limits.all, setting, words: `${value} connections are open` };
    }
    const value = countsByAddress.of(sockets.get(wireOf(socket))?.addressKey ?? "");
    const words = `${value} connections of ${socket.remoteAddress} are open`;
    return { gauge: "connectionsOfAddress", value, limit: limits.perAddress, setting, words };
  }

  return {
    get count() {
      return sockets.size;
    },
    isEnding: false,
    limit: limits.all,
    limitPerAddress: limits.perAddress,
    isSurplus: (socket) => surplus.caps.size > 0 && surplus.caps.has(wireOf(socket)),
    excessOf,
    has: (socket) => sockets.has(wireOf(socket)),
    secure(secured) {
      const open = sockets.get(wireOf(secured));
      if (open !== undefined) Object.assign(open, { socket: secured, acceptedAt: performance.now() });
    },
    closeIdle() {
      const now = performance.now();
      for (const { socket, acceptedAt } of sockets.values()) {
        const graceMs = socket.bytesRead === 0 ? UNUSED_MS : HEAD_MS;
        if (isIdle(socket) ?? now - acceptedAt > graceMs) socket.destroy();
      }
    },
    destroyAll() {
      for (const [wire, { socket }] of sockets) {
        cut.add(wire);
        socket.destroy();
      }
    },
    wasCut: (socket) => cut.has(wireOf(socket)),
  };
}

/** Ends connections whose client does not read, while the server listens. */
function endStalled(
  listener: Server,
  { sendTimeoutMs }: ConnectionLimits,
  sockets: ReadonlyMap<Socket, OpenSocket>,
): void {
  listener.once("listening", () => {
    // By a reset: a response that only the connection's end would frame must not look complete, and the kernel drops what it
    // still holds.
    const used = () => Array.from(sockets.values(), ({ socket }) => socket);
    const sweep = createStallSweep(sendTimeoutMs, used, resetConnection);
    listener.once("close", sweep.stop);
  });
}

/** Undefined where there is no cap by address, and for a trusted peer: its connections belong to many clients. */
function countedKey({ remoteAddress }: Socket, limits: ConnectionLimits): string | undefined {
  if (limits.perAddress === 0 || remoteAddress === undefined) return undefined;
  return limits.isTrustedPeer(remoteAddress) ? undefined : addressKey(remoteAddress);
}

/** The sockets over a cap. Each ends after `SURPLUS_MS`, so that there are never many. */
class SurplusSockets {
  /** By socket; undefined for a socket that is over no cap. */
  readonly caps = new Map<Socket, ConnectionCap>();
  #overAddressCap = 0;

  /** How many of them are over the cap of their address. */
  get overAddressCap(): number {
    return this.#overAddressCap;
  }

  /** @param overAddressCap how far the address of the new socket would be over its cap. */
  hasRoom(overAddressCap: number): boolean {
    return this.caps.size < SURPLUS_LIMIT && overAddressCap <= SURPLUS_LIMIT_PER_ADDRESS;
  }

  admit(socket: Socket, cap: ConnectionCap): void {
    const overAddressCap = cap === "MAX_CONNECTIONS_PER_ADDRESS" ? 1 : 0;
    this.caps.set(socket, cap);
    this.#overAddressCap += overAddressCap;
    const timer = setTimeout(() => socket.destroy(), SURPLUS_MS);
    timer.unref();
    socket.once("close", () => {
      clearTimeout(timer);
      this.caps.delete(socket);
      this.#overAddressCap -= overAddressCap;
    });
  }
}

/** How many connections each client address has. Only addresses with an open connection have an entry: it bounds memory. */
export class AddressCounts {
  readonly #counts = new Map<string, number>();

  /** @param key from `addressKey`. */
  enter(key: string): void {
    this.#counts.set(key, this.of(key) + 1);
  }

  leave(key: string): void {
    const left = this.of(key) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** Addresses with an open connection. */
  get size(): number {
    return this.#counts.size;
  }
}
