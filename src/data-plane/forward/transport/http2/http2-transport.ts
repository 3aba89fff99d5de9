/**
 * HTTP/2 to one service's upstream: its connections, whose streams the requests share, and the queue for them.
 * Invariant: connections, TLS settings and credentials of two services never mix; never more than `maxConnections` requests, and so
 * connections, are open, and no caller has all of them; and a connection is opened only if no other one has room.
 */
import type { Service } from "../../../../config/schema.ts";
import type { Dial } from "../../egress.ts";
import { AddressCheck } from "../address-check.ts";
import { destroyedByGateway } from "../connection-failure.ts";
import { ConnectionQueue } from "../connection-queue.ts";
import { Shares } from "../shares.ts";
import type { PoolState, Transport } from "../transport.ts";
import type { Dispatched, ResponseListener, TransportRequest } from "../transport-contract.ts";
import { type Choice, Waiter } from "../waiter.ts";
import { Http2Session, type SessionOwner } from "./http2-session.ts";
import { StreamTransfer } from "./stream-transfer.ts";

interface Origin {
  /** With room for a request. The last one is used first: the others reach their idle timeout. */
  readonly free: Http2Session[];
  readonly addresses: AddressCheck;
  /** Of the last connection. */
  streamsLimit: number;
}

/** Streams that a server is expected to accept, until it has announced its limit (RFC 9113 section 6.5.2). */
const EXPECTED_STREAMS = 100;

type Limits = Pick<
  Service,
  "maxConnections" | "maxPending" | "idleConnectionMs" | "maxConnectionAgeMs" | "connectTimeoutMs"
>;

export class Http2Transport implements Transport, SessionOwner {
  readonly limitPerCaller: number;
  readonly idleConnectionMs: number;
  readonly maxConnectionAgeMs: number;
  readonly connectTimeoutMs: number;
  readonly #dial: Dial;
  readonly #maxConnections: number;
  readonly #maxPending: number;
  readonly #sessions = new Set<Http2Session>();
  readonly #origins = new Map<string, Origin>();
  readonly #shares: Shares;
  readonly #waiting = new ConnectionQueue();
  readonly #drainListeners = new Set<() => void>();
  #inFlight = 0;
  #isDraining = false;
  #isClosed = false;

  constructor(dial: Dial, limits: Limits) {
    this.#dial = dial;
    this.#maxConnections = limits.maxConnections;
    this.#maxPending = limits.maxPending;
    this.idleConnectionMs = limits.idleConnectionMs;
    this.maxConnectionAgeMs = limits.maxConnectionAgeMs;
    this.connectTimeoutMs = limits.connectTimeoutMs;
    this.#shares = new Shares(limits.maxConnections);
    this.limitPerCaller = this.#shares.limit;
  }

  isFullFor(party: string): boolean {
    if (this.#hasRoom(party)) return false;
    const waiting = this.#waiting;
    return this.#isDraining || (waiting.size >= this.#maxPending && waiting.lastOfMost(party) === undefined);
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  dispatch(request: TransportRequest, listener: ResponseListener, on: Choice): Dispatched | undefined {
    // A late retry must not open a connection after close().
    if (this.#isClosed) {
      queueMicrotask(() => listener.onResponseError(destroyedByGateway()));
      return undefined;
    }
    return this.#hasRoom(request.party) ? this.#begin(request, listener, on) : this.#wait(request, listener, on);
  }

  connections(): PoolState {
    let idle = 0;
    for (const session of this.#sessions) if (session.isIdle) idle++;
    return {
      open: this.#sessions.size,
      idle,
      busy: this.#inFlight,
      limit: this.#maxConnections,
      pending: this.#waiting.size,
      pendingLimit: this.#maxPending,
    };
  }

  drain(): void {
    this.#isDraining = true;
    for (const waiter of this.#waiting.takeAll()) waiter.takeTurn();
    for (const listener of this.#drainListeners) listener();
  }

  onDrain(listener: () => void): () => void {
    this.#drainListeners.add(listener);
    return () => this.#drainListeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const waiter of this.#waiting.takeAll()) waiter.fail(destroyedByGateway());
    await Promise.all([...this.#sessions].map((session) => session.destroy()));
  }

  onReady(session: Http2Session): void {
    this.#originOf(session.origin).streamsLimit = session.streamsLimit;
    this.onFree(session);
  }

  onFree(session: Http2Session): void {
    const { free } = this.#originOf(session.origin);
    if (session.room > 0 && !free.includes(session)) free.push(session);
  }

  onSurplus(transfer: StreamTransfer): void {
    this.#assign(transfer);
  }

  onClosing(session: Http2Session): void {
    const { free } = this.#originOf(session.origin);
    const at = free.lastIndexOf(session);
    if (at >= 0) free.splice(at, 1);
  }

  onGone(session: Http2Session): void {
    this.onClosing(session);
    this.#sessions.delete(session);
  }

  #originOf(origin: string): Origin {
    let found = this.#origins.get(origin);
    if (found === undefined) {
      const addresses = new AddressCheck(origin, this.#dial.resolve, this.#sessions);
      found = { free: [], addresses, streamsLimit: EXPECTED_STREAMS };
      this.#origins.set(origin, found);
    }
    return found;
  }

  readonly #hasRoom = (party: string): boolean => {
    const shares = this.#shares;
    if (this.#inFlight < shares.limit) return true;
    return this.#inFlight < this.#maxConnections && shares.mayTake(shares.of(party));
  };

  #begin(request: TransportRequest, listener: ResponseListener, on: Choice): Dispatched {
    const share = this.#shares.of(request.party);
    share.busy++;
    this.#inFlight++;
    const transfer = new StreamTransfer(request, listener, { share, isRepeated: on === "new", onOver: this.#onOver });
    this.#assign(transfer);
    return transfer;
  }

  readonly #onOver = ({ share }: StreamTransfer): void => {
    share.busy--;
    this.#inFlight--;
    this.#serveNext();
  };

  #assign(transfer: StreamTransfer): void {
    this.#sessionFor(transfer.request.origin).take(transfer);
  }

  #sessionFor(name: string): Http2Session {
    const origin = this.#originOf(name);
    const { free, addresses } = origin;
    const now = performance.now();
    addresses.runIfDue(now);
    for (let last = free.at(-1); last !== undefined; last = free.at(-1)) {
      if (last.isExpired(now)) last.retire();
      else if (last.room > 0) return last;
      else free.pop();
    }
    return this.#open(name, origin);
  }

  #open(name: string, { free, streamsLimit }: Origin): Http2Session {
    // Each of the others has requests, or is closing: together they have fewer than the limit.
    if (this.#sessions.size >= this.#maxConnections) [...this.#sessions].find(({ isIdle }) => isIdle)?.retire();
    const made = new Http2Session(name, this.#dial, this, Math.max(1, streamsLimit));
    this.#sessions.add(made);
    free.push(made);
    return made;
  }

  #serveNext(): void {
    while (this.#waiting.size > 0 && !this.#isClosed && this.#inFlight < this.#maxConnections) {
      const waiter = this.#waiting.take(this.#hasRoom);
      if (waiter === undefined) return;
      const { on } = waiter;
      if (waiter.takeTurn()) waiter.begin({ dispatch: (request, listener) => this.#begin(request, listener, on) });
    }
  }

  /** In a full queue the caller with the most requests makes room, as in the queue for a quota. */
  #wait(request: TransportRequest, listener: ResponseListener, on: Choice): Waiter {
    const waiting = this.#waiting;
    const last = on === "new" || waiting.size < this.#maxPending ? undefined : waiting.lastOfMost(request.party);
    if (last !== undefined && waiting.remove(last)) last.makeRoom();
    const waiter = new Waiter(request, listener, on, (left) => waiting.remove(left));
    waiting.add(waiter);
    return waiter;
  }
}
