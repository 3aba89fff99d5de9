/**
 * HTTP/1.1 to one service's upstream: its connections, and the queue for them.
 * Invariant: connections, TLS settings and credentials of two services never mix; a service never has more than
 * `maxConnections`, and no caller all of them; and a waiting request gets the next free connection before a request of its caller
 * that has just come.
 */
import type { Service } from "../../../config/schema.ts";
import type { Dial } from "../egress.ts";
import { AddressCheck } from "./address-check.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { destroyedByGateway } from "./connection-failure.ts";
import { ConnectionQueue } from "./connection-queue.ts";
import { Shares } from "./shares.ts";
import type { Dispatched, ResponseListener, Share, TransportRequest } from "./transport-contract.ts";
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
  /** Connections that one caller may use if several callers may use the service. */
  readonly limitPerCaller: number;
  /** A request of this caller would get no connection, and may not wait for one. */
  isFullFor(party: string): boolean;
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
  const shares = new Shares(maxConnections);
  const waiting = new ConnectionQueue();
  const drainListeners = new Set<() => void>();
  let idleCount = 0;
  /** Of the idle ones: those that serve only the client that authenticated them. */
  let boundCount = 0;
  let isDraining = false;
  let isClosed = false;

  const owner: ConnectionOwner = {
    idleConnectionMs,
    maxConnectionAgeMs,
    onFree(connection) {
      originOf(connection.origin).idle.push(connection);
      idleCount++;
      if (connection.binding !== undefined) boundCount++;
      (connection.share as Share).busy--;
      connection.share = undefined;
      serveNext();
    },
    onGone(connection) {
      if (!connections.delete(connection)) return;
      if (connection.share !== undefined) connection.share.busy--;
      connection.share = undefined;
      const { idle } = originOf(connection.origin);
      const at = idle.lastIndexOf(connection);
      if (at >= 0) take(idle, at);
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

  /** Below the limit of one caller no look-up is needed. */
  const hasRoom = (party: string) => {
    const busy = busyCount();
    return busy < shares.limit || (busy < maxConnections && shares.mayTake(shares.of(party)));
  };

  function serveNext(): void {
    while (waiting.size > 0 && !isClosed && busyCount() < maxConnections) {
      const waiter = waiting.take(hasRoom);
      if (waiter === undefined) return;
      if (waiter.takeTurn()) waiter.begin(connectionFor(waiter.request, waiter.on));
    }
  }

  /** In a full queue the caller with the most requests makes room, as in the queue for a quota. */
  function wait(request: TransportRequest, listener: ResponseListener, on: Choice): Waiter {
    const last = on === "new" || waiting.size < maxPending ? undefined : waiting.lastOfMost(request.party);
    if (last !== undefined && waiting.remove(last)) last.makeRoom();
    const waiter = new Waiter(request, listener, on, (left) => waiting.remove(left));
    waiting.add(waiter);
    return waiter;
  }

  function connectionFor(request: TransportRequest, on: Choice): Connection {
    const { origin, party } = request;
    const bound = boundCount > 0 ? takeBound(request) : undefined;
    const connection = bound ?? (on === "new" ? undefined : takeIdle(origin, on)) ?? open(origin);
    if (bound !== undefined) request.isBound = true;
    else if (request.isBound) connection.bindTo(request.client);
    connection.share = shares.of(party);
    connection.share.busy++;
    return connection;
  }

  function open(origin: string): Connection {
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
      if (connection.binding !== undefined) continue;
      // At the limit an idle one would be closed to make room for a new one, which is no better.
      if (on === "proven" && connections.size < maxConnections && !connection.isProven) continue;
      return take(idle, at);
    }
    return undefined;
  }

  /** The idle connection that this client has authenticated: its next request goes there, with any method. */
  function takeBound({ origin, client }: TransportRequest): Connection | undefined {
    const { idle } = originOf(origin);
    const at = idle.findIndex(({ binding }) => binding?.isFor(client));
    if (at < 0) return undefined;
    if (!(idle[at] as Connection).isExpired(performance.now())) return take(idle, at);
    discard(idle[at] as Connection, idle);
    return undefined;
  }

  function take(idle: Connection[], at: number): Connection {
    const connection = idle[at] as Connection;
    idleCount--;
    if (connection.binding !== undefined) boundCount--;
    if (at === idle.length - 1) idle.pop();
    else idle.splice(at, 1);
    return connection;
  }

  function closeOldestIdle(): void {
    for (const { idle } of origins.values()) {
      const [oldest] = idle;
      if (oldest !== undefined) return discard(oldest, idle);
    }
  }

  /** Removed first, so that its end serves no waiting request. */
  function discard(connection: Connection, idle: Connection[]): void {
    take(idle, idle.lastIndexOf(connection));
    connections.delete(connection);
    void connection.destroy();
  }

  return {
    limitPerCaller: shares.limit,
    isFullFor(party) {
      if (hasRoom(party)) return false;
      return isDraining || (waiting.size >= maxPending && waiting.lastOfMost(party) === undefined);
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
      if (!hasRoom(request.party)) return wait(request, listener, on);
      return connectionFor(request, on).dispatch(request, listener);
    },
    connections: () => ({
      open: connections.size,
      idle: idleCount,
      busy: busyCount(),
      limit: maxConnections,
      pending: waiting.size,
      pendingLimit: maxPending,
    }),
    drain() {
      isDraining = true;
      for (const waiter of waiting.takeAll()) waiter.takeTurn();
      for (const listener of drainListeners) listener();
    },
    onDrain(listener) {
      drainListeners.add(listener);
      return () => drainListeners.delete(listener);
    },
    async close() {
      isClosed = true;
      for (const waiter of waiting.takeAll()) waiter.fail(destroyedByGateway());
      await Promise.all([...connections].map((connection) => connection.destroy()));
    },
  };
}
