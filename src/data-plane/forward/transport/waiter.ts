/**
 * A request that waits for a connection.
 * Invariant: it leaves the queue once, with a connection or without, and then reports how long it waited.
 */
import type { Dispatched, ResponseListener, TransportRequest } from "./transport-contract.ts";

/**
 * Which connection may carry a request. The upstream may close an idle connection at any moment: `any` is for a request that may
 * be repeated; `proven` (a connection that the upstream is known to keep) for one that may not; `new` (with priority in the
 * queue) for one whose connection was found closed.
 */
export type Choice = "any" | "proven" | "new";

/** A connection for the request. */
interface Carrying {
  dispatch(request: TransportRequest, listener: ResponseListener): Dispatched;
}

export class Waiter implements Dispatched {
  readonly request: TransportRequest;
  readonly on: Choice;
  readonly #listener: ResponseListener;
  readonly #leave: (waiter: Waiter) => boolean;
  readonly #since = performance.now();
  #dispatched: Dispatched | undefined;

  /** @param leave removes it from the queue. @returns false if it was not there. */
  constructor(request: TransportRequest, listener: ResponseListener, on: Choice, leave: (waiter: Waiter) => boolean) {
    this.request = request;
    this.on = on;
    this.#listener = listener;
    this.#leave = leave;
  }

  get isWaiting(): boolean {
    return this.#dispatched === undefined;
  }

  /** Called after it was removed from the queue. @returns whether to call `begin`. */
  takeTurn(): boolean {
    this.#listener.onWaited(performance.now() - this.#since);
    return this.#listener.onTurn(false);
  }

  /** Called after it was removed from the queue, for a request of a caller with fewer of them. */
  makeRoom(): void {
    this.#listener.onWaited(performance.now() - this.#since);
    this.#listener.onTurn(true);
  }

  begin(connection: Carrying): void {
    this.#dispatched = connection.dispatch(this.request, this.#listener);
  }

  /** Called after it was removed from the queue. */
  fail(error: Error): void {
    this.#listener.onWaited(performance.now() - this.#since);
    this.#listener.onResponseError(error);
  }

  isStale(error: Error): boolean {
    return this.#dispatched?.isStale(error) ?? false;
  }

  abandon(): void {
    if (this.#dispatched !== undefined) return this.#dispatched.abandon();
    if (!this.#leave(this)) return;
    this.#listener.onWaited(performance.now() - this.#since);
  }
}
