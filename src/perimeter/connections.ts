/**
 * The client sockets of one listener: counted, capped, and closed when it ends or when nobody reads them.
 * Invariant: a socket beyond a cap is not reset without a word. It may ask once, to be told that there is no room or
 * that the gateway lives; and there is a bound to those, too.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { addressKey } from "../limits/address-key.ts";
import { AddressCounts } from "./address-counts.ts";
import { createStallSweep } from "./stall-sweep.ts";
import { type ConnectionCap, SURPLUS_LIMIT, Surplus } from "./surplus.ts";

/** A connection younger than this, ms, may have its first request on the way. */
const UNUSED_MS = 200;

/** The same for one that has sent a part of it, ms: half a head must not hold up the end. */
const HEAD_MS = 1_000;

export interface ConnectionLimits {
  /** MAX_CONNECTIONS. */
  readonly all: number;
  /** MAX_CONNECTIONS_PER_ADDRESS, 0 for no cap. */
  readonly perAddress: number;
  /** SEND_TIMEOUT, ms. */
  readonly sendTimeoutMs: number;
  /** Whether many clients may be behind this peer: it is in TRUST_PROXY. */
  isTrustedPeer(address: string): boolean;
}

/** The cap that a socket is beyond. */
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
  readonly limit: number;
  /** 0 for no cap. */
  readonly limitPerAddress: number;
  /** Beyond a cap: its answer ends it, and nothing is proxied on it. */
  isSurplus(socket: Socket): boolean;
  /** Which cap, for one that is. */
  excessOf(socket: Socket): ConnectionExcess | undefined;
  /** Closes those that carry nothing now. */
  closeIdle(): void;
  /** Ends all, whatever they carry. */
  destroyAll(): void;
}

interface Known {
  /** On the clock of performance.now(), ms. */
  readonly acceptedAt: number;
  /** What its address is counted under; undefined for one that is not counted. */
  readonly addressKey: string | undefined;
}

/** @param isIdle true when all that a socket asked for is answered and handed over; undefined before it has asked for anything. */
export function createConnections(
  server: Server,
  limits: ConnectionLimits,
  isIdle: (socket: Socket) => boolean | undefined,
): Connections {
  const sockets = new Map<Socket, Known>();
  const surplus = new Surplus();
  const ofAddress = new AddressCounts();
  server.maxConnections = limits.all + SURPLUS_LIMIT;
  server.on("connection", (socket: Socket) => {
    const key = countedKey(socket, limits);
    const beyondAddress = key === undefined ? 0 : ofAddress.of(key) + 1 - limits.perAddress;
    const cap = findExceeded(beyondAddress);
    if (cap !== undefined && !surplus.hasRoom(beyondAddress)) {
      socket.destroy();
      return;
    }
    sockets.set(socket, { acceptedAt: performance.now(), addressKey: key });
    if (key !== undefined) ofAddress.enter(key);
    if (cap !== undefined) surplus.admit(socket, cap);
    socket.once("close", () => {
      sockets.delete(socket);
      if (key !== undefined) ofAddress.leave(key);
    });
  });
  server.once("listening", () => {
    // By a reset: an answer that only its end frames must not look whole, and what the kernel still holds is let go of.
    const end = (socket: Socket) => socket.resetAndDestroy();
    const sweep = createStallSweep(limits.sendTimeoutMs, () => sockets.keys(), end);
    server.once("close", sweep.stop);
  });

  /** Those that are told of the cap by address keep nobody else out. */
  function findExceeded(beyondAddress: number): ConnectionCap | undefined {
    if (beyondAddress > 0) return "MAX_CONNECTIONS_PER_ADDRESS";
    return sockets.size - surplus.ofAddresses >= limits.all ? "MAX_CONNECTIONS" : undefined;
  }

  function excessOf(socket: Socket): ConnectionExcess | undefined {
    const setting = surplus.capOf(socket);
    if (setting === undefined) return undefined;
    if (setting === "MAX_CONNECTIONS") {
      const value = sockets.size;
      return { gauge: "connections", value, limit: limits.all, setting, words: `${value} connections are open` };
    }
    const value = ofAddress.of(sockets.get(socket)?.addressKey ?? "");
    const words = `${value} connections of ${socket.remoteAddress} are open`;
    return { gauge: "connectionsOfAddress", value, limit: limits.perAddress, setting, words };
  }

  // node:http's own would destroy a socket that an answer is still flowing out of, and keep one that was never used.
  server.closeIdleConnections = () => {
    const now = performance.now();
    for (const [socket, { acceptedAt }] of sockets) {
      const graceMs = socket.bytesRead === 0 ? UNUSED_MS : HEAD_MS;
      if (isIdle(socket) ?? now - acceptedAt > graceMs) socket.destroy();
    }
  };

  return {
    get count() {
      return sockets.size;
    },
    limit: limits.all,
    limitPerAddress: limits.perAddress,
    isSurplus: (socket) => surplus.capOf(socket) !== undefined,
    excessOf,
    closeIdle: () => server.closeIdleConnections(),
    destroyAll() {
      for (const socket of sockets.keys()) socket.destroy();
    },
  };
}

/** Undefined where there is no cap by address, and for what is not one client's. */
function countedKey({ remoteAddress }: Socket, limits: ConnectionLimits): string | undefined {
  if (limits.perAddress === 0 || remoteAddress === undefined) return undefined;
  return limits.isTrustedPeer(remoteAddress) ? undefined : addressKey(remoteAddress);
}
