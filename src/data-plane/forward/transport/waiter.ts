/**
 * A request that waits for a connection, first come first served.
 * Invariant: it leaves the queue once, with a connection or without, and then reports how long it waited.
 */
import type { Connection } from "./connection.ts";
import type { Dispatched, ResponseListener, TransportRequest } from "./transport-contract.ts";

/**
 * Which connection may carry a request. The upstream may close an idle connection at any moment: `any` is for a request that may
 * be repeated; `proven` (a connection that the upstream is known to keep) for one that may not; `new` (with priority in the
 * queue) for one whose connection was found closed.
 */
export type Choice = "any" | "proven" | "new";

export class Waiter implements Dispatched {
  readonly request: TransportRequest;
  readonly on: Choice;
  readonly #listener: ResponseListener;
  readonly #queue: Waiter[];
  readonly #since = performance.now();
  #dispatched: Dispatched | undefined;

  constructor(request: TransportRequest, listener: ResponseListener, on: Choice, queue: Waiter[]) {
    this.request = request;
    this.on = on;
    this.#listener = listener;
    this.#queue = queue;
  }

  get isWaiting(): boolean {
    return this.#dispatched === undefined;
  }

  /** Called after it was removed from the queue. @returns whether to call `begin`. */
  takeTurn(): boolean {
    this.#listener.onWaited(performance.now() - this.#since);
    return this.#listener.onTurn();
  }

  begin(connection: Connection): void {
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
    const at = this.#queue.indexOf(this);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    this.#listener.onWaited(performance.now() - this.#since);
  }
}
