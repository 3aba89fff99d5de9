/**
 * HTTP/1.1 to one service's upstream: its connections, and the queue for them.
 * Invariant: connections, TLS settings and credentials of two services never mix; a service never has more than
 * `maxConnections`; and a waiting request gets the next free connection before a request that has just come.
 */
import type { Service } from "../../../config/schema.ts";
import type { Dial } from "../egress.ts";
import { AddressCheck } from "./address-check.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { destroyedByGateway } from "./connection-failure.ts";
import type { Dispatched, ResponseListener, TransportRequest } from "./transport-contract.ts";
import { type Choice, Waiter } from "./waiter.ts";

/** The connections to one upstream. */
export interface PoolState {
  /** Including those that are connecting. */
  readonly open: number;
  /** Without a request. */
  readonly idle: number;
  /** With a request. */
  readonly busy: number;
  /** `maxConnections`. */
  readonly limit: number;
  /** Requests that wait for one. */
  readonly pending: number;
  /** `maxPending`. */
  readonly pendingLimit: number;
}

export interface Transport {
  /** All connections are busy, and no more may wait for one. */
  readonly isFull: boolean;
  /** The gateway is ending: no request may wait any more. */
  readonly isDraining: boolean;
  /** Sends one request as soon as there is a connection for it. The listener receives every outcome, errors included. */
  dispatch(request: TransportRequest, listener: ResponseListener, on: Choice): Dispatched | undefined;
  connections(): PoolState;
  /** From now on no request waits: those that wait now are called to be refused. */
  drain(): void;
  /** Calls the listener once, when the transport drains. @returns a function that removes the listener. */
  onDrain(listener: () => void): () => void;
  close(): Promise<void>;
}

/** A service has several origins where its versions have base URLs of their own. */
interface Origin {
  /** The last used one at the end: the others reach their idle timeout. */
  readonly idle: Connection[];
  readonly addresses: AddressCheck;
}

export function createTransport(
  dial: Dial,
  service: Pick<Service, "maxConnections" | "maxPending" | "idleConnectionMs" | "maxConnectionAgeMs">,
): Transport {
  const { maxConnections, maxPending, idleConnectionMs, maxConnectionAgeMs } = service;
  const connections = new Set<Connection>();
  const origins = new Map<string, Origin>();
  const waiting: Waiter[] = [];
  const drainListeners = new Set<() => void>();
  let idleCount = 0;
  let isDraining = false;
  let isClosed = false;

  const owner: ConnectionOwner = {
    idleConnectionMs,
    maxConnectionAgeMs,
    onFree(connection) {
      originOf(connection.origin).idle.push(connection);
      idleCount++;
      serveNext();
    },
    onGone(connection) {
      if (!connections.delete(connection)) return;
      const { idle } = originOf(connection.origin);
      const at = idle.lastIndexOf(connection);
      if (at >= 0) {
        idle.splice(at, 1);
        idleCount--;
      }
      serveNext();
    },
  };

  function originOf(origin: string): Origin {
    let found = origins.get(origin);
    if (found === undefined) {
      found = { idle: [], addresses: new AddressCheck(origin, dial.resolve, connections) };
      origins.set(origin, found);
    }
    return found;
  }

  const busyCount = () => connections.size - idleCount;

  function serveNext(): void {
    while (!isClosed && busyCount() < maxConnections) {
      const waiter = waiting.shift();
      if (waiter === undefined) return;
      if (waiter.takeTurn()) waiter.begin(connectionFor(waiter.request.origin, waiter.on));
    }
  }

  function connectionFor(origin: string, on: Choice): Connection {
    const reused = on === "new" ? undefined : takeIdle(origin, on);
    if (reused !== undefined) return reused;
    // Then there is an idle one: of another origin, or not proven.
    if (connections.size >= maxConnections) closeOldestIdle();
    const made = new Connection(origin, dial, owner);
    connections.add(made);
    return made;
  }

  function takeIdle(origin: string, on: Choice): Connection | undefined {
    const { idle, addresses } = originOf(origin);
    const now = performance.now();
    addresses.runIfDue(now);
    for (let at = idle.length - 1; at >= 0; at--) {
      const connection = idle[at] as Connection;
      if (connection.isExpired(now)) {
        discard(connection, idle);
        continue;
      }
      // At the limit an idle one would be closed to make room for a new one, which is no better.
      if (on === "proven" && connections.size < maxConnections && !connection.isProven) continue;
      idleCount--;
      if (at === idle.length - 1) idle.pop();
      else idle.splice(at, 1);
      return connection;
    }
    return undefined;
  }

  function closeOldestIdle(): void {
    for (const { idle } of origins.values()) {
      const [oldest] = idle;
      if (oldest !== undefined) return discard(oldest, idle);
    }
  }

  /** Removed first, so that its end serves no waiting request. */
  function discard(connection: Connection, idle: Connection[]): void {
    idle.splice(idle.lastIndexOf(connection), 1);
    idleCount--;
    connections.delete(connection);
    void connection.destroy();
  }

  return {
    get isFull() {
      return busyCount() >= maxConnections && (waiting.length >= maxPending || isDraining);
    },
    get isDraining() {
      return isDraining;
    },
    dispatch(request, listener, on) {
      // A late retry must not open a connection after close().
      if (isClosed) {
        queueMicrotask(() => listener.onResponseError(destroyedByGateway()));
        return undefined;
      }
      if (busyCount() < maxConnections) {
        const connection = connectionFor(request.origin, on);
        return connection.dispatch(request, listener);
      }
      const waiter = new Waiter(request, listener, on, waiting);
      if (on === "new") waiting.unshift(waiter);
      else waiting.push(waiter);
      return waiter;
    },
    connections: () => ({
      open: connections.size,
      idle: idleCount,
      busy: busyCount(),
      limit: maxConnections,
      pending: waiting.length,
      pendingLimit: maxPending,
    }),
    drain() {
      isDraining = true;
      for (const waiter of waiting.splice(0)) waiter.takeTurn();
      for (const listener of drainListeners) listener();
    },
    onDrain(listener) {
      drainListeners.add(listener);
      return () => drainListeners.delete(listener);
    },
    async close() {
      isClosed = true;
      for (const waiter of waiting.splice(0)) waiter.fail(destroyedByGateway());
      await Promise.all([...connections].map((connection) => connection.destroy()));
    },
  };
}
