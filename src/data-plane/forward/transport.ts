/**
 * HTTP to one service's upstream, over undici: its connections, and the queue for them.
 * Invariant: connections, TLS settings and credentials of two services never mix; there are never more than `maxConnections`
 * of them; and whoever waits has the next one that is free, before anybody who comes anew.
 */
import type { Readable } from "node:stream";
import { errors } from "undici";
import type { Service } from "../../config/schema.ts";
import type { Dial } from "./egress.ts";
import { Connection, type ConnectionOwner } from "./transport/connection.ts";
import { mendErrors } from "./transport/mend-errors.ts";
import type { PoolState } from "./transport/pool-state.ts";
import { Waiter } from "./transport/waiter.ts";

/** What an attempt is told, in undici's own shape so that nothing is wrapped a second time on the hot path. */
export interface AnswerListener {
  /** It had to wait for a connection, which is over: it has one, or gave up. */
  onWaited(waitedMs: number): void;
  /** There is a connection for it now. @returns whether it is still to be sent: much may have become known while it waited. */
  onTurn(): boolean;
  onRequestStart(flow: Flow): void;
  /** Also called for informational answers (1xx). Names are lower-case; a repeated header is an array. */
  onResponseStart(flow: Flow, status: number, headers: AnswerHeaders, reason?: string): void;
  onResponseData(flow: Flow, chunk: Buffer): void;
  onResponseEnd(flow: Flow, trailers: AnswerHeaders): void;
  onResponseError(flow: Flow | undefined, error: Error): void;
}

export interface Flow {
  pause(): void;
  resume(): void;
  abort(reason: Error): void;
}
export type AnswerHeaders = Record<string, string | string[] | undefined>;

export interface TransportRequest {
  readonly origin: string;
  readonly method: string;
  readonly path: string;
  readonly headers: string[];
  readonly body: Buffer | Readable | null;
}

/**
 * Which connection a request may be put on. One that was kept may be closed by the upstream in the same moment: `any` for a
 * request that may then go again; `proven`, one that its upstream is known to keep, for one that may not; `new`, at the head
 * of the queue, for one whose connection was closed.
 */
export type Choice = "any" | "proven" | "new";

/** A request that was handed over. */
export interface Dispatched {
  /** For a connection. */
  readonly isWaiting: boolean;
  /** Whether it failed because the upstream had closed a connection that was kept for it: no byte of an answer came. */
  isStale(error: Error): boolean;
  /** To be told of a request that has not begun, when nobody wants it any more: what it held is free at once. */
  abandon(): void;
}

export interface Transport {
  /** All connections are busy, and no more may wait for one. */
  readonly isFull: boolean;
  /** The process ends: nobody waits any more. */
  readonly isDraining: boolean;
  /** Sends one request as soon as there is a connection for it; every outcome, errors included, goes to the listener. */
  dispatch(request: TransportRequest, listener: AnswerListener, on: Choice): Dispatched | undefined;
  connections(): PoolState;
  /** From now on nobody waits; it is the turn of those who do, to be refused. */
  drain(): void;
  /** Told once, when it drains. @returns what takes it back. */
  onDrain(listener: () => void): () => void;
  close(): Promise<void>;
}

export function createTransport(
  dial: Dial,
  { maxConnections, maxPending }: Pick<Service, "maxConnections" | "maxPending">,
): Transport {
  const mendedDial = mendErrors(dial);
  const connections = new Set<Connection>();
  /** By origin, the one that was used last at the end: the others are left to end by themselves. */
  const idle = new Map<string, Connection[]>();
  const waiting: Waiter[] = [];
  const drainListeners = new Set<() => void>();
  let idleCount = 0;
  let isDraining = false;
  let isClosed = false;

  const owner: ConnectionOwner = {
    onFree(connection) {
      const others = idle.get(connection.origin);
      if (others === undefined) idle.set(connection.origin, [connection]);
      else others.push(connection);
      idleCount++;
      serveNext();
    },
    onGone(connection) {
      if (!connections.delete(connection)) return;
      const others = idle.get(connection.origin);
      const at = others?.lastIndexOf(connection) ?? -1;
      if (at >= 0) {
        others?.splice(at, 1);
        idleCount--;
      }
      serveNext();
    },
  };

  const busyCount = () => connections.size - idleCount;

  function serveNext(): void {
    while (!isClosed && busyCount() < maxConnections) {
      const waiter = waiting.shift();
      if (waiter === undefined) return;
      if (waiter.takeTurn()) waiter.begin(connectionFor(waiter.request.origin, waiter.on));
    }
  }

  function connectionFor(origin: string, on: Choice): Connection {
    const kept = on === "new" ? undefined : takeIdle(origin, on);
    if (kept !== undefined) return kept;
    // There is an idle one then: of another origin, or not to be trusted.
    if (connections.size >= maxConnections) closeOldestIdle();
    const made = new Connection(origin, mendedDial, owner);
    connections.add(made);
    return made;
  }

  function takeIdle(origin: string, on: Choice): Connection | undefined {
    const kept = idle.get(origin);
    if (kept === undefined || kept.length === 0) return undefined;
    let at = kept.length - 1;
    // At the limit another one would be closed for a new one, which is no better.
    if (on === "proven" && connections.size < maxConnections) {
      while (at >= 0 && !kept[at]?.isProven) at--;
      if (at < 0) return undefined;
    }
    idleCount--;
    return at === kept.length - 1 ? kept.pop() : kept.splice(at, 1)[0];
  }

  function closeOldestIdle(): void {
    for (const others of idle.values()) {
      const oldest = others.shift();
      if (oldest === undefined) continue;
      idleCount--;
      connections.delete(oldest);
      void oldest.destroy();
      return;
    }
  }

  return {
    get isFull() {
      return busyCount() >= maxConnections && (waiting.length >= maxPending || isDraining);
    },
    get isDraining() {
      return isDraining;
    },
    dispatch(request, listener, on) {
      // A retry that comes too late must not open what was closed.
      if (isClosed) {
        queueMicrotask(() => listener.onResponseError(undefined, new errors.ClientDestroyedError()));
        return undefined;
      }
      if (busyCount() < maxConnections) {
        const connection = connectionFor(request.origin, on);
        connection.dispatch(request, listener);
        return connection;
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
      for (const waiter of waiting.splice(0)) waiter.fail(new errors.ClientDestroyedError());
      await Promise.all([...connections].map((connection) => connection.destroy()));
    },
  };
}
