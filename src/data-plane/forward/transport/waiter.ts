/**
 * A request that waits for a connection, first come first served.
 * Invariant: it leaves the queue once, with a connection or without, and says then how long it has waited.
 */
import type { AnswerListener, Choice, Dispatched, TransportRequest } from "../transport.ts";
import type { Connection } from "./connection.ts";

export class Waiter implements Dispatched {
  readonly request: TransportRequest;
  readonly on: Choice;
  readonly #listener: AnswerListener;
  readonly #queue: Waiter[];
  readonly #since = performance.now();
  #connection: Connection | undefined;

  constructor(request: TransportRequest, listener: AnswerListener, on: Choice, queue: Waiter[]) {
    this.request = request;
    this.on = on;
    this.#listener = listener;
    this.#queue = queue;
  }

  get isWaiting(): boolean {
    return this.#connection === undefined;
  }

  /** Called when it has been taken out of the queue. @returns whether it is to `begin`. */
  takeTurn(): boolean {
    this.#listener.onWaited(performance.now() - this.#since);
    return this.#listener.onTurn();
  }

  begin(connection: Connection): void {
    this.#connection = connection;
    connection.dispatch(this.request, this.#listener);
  }

  /** Called when it has been taken out of the queue. */
  fail(error: Error): void {
    this.#listener.onWaited(performance.now() - this.#since);
    this.#listener.onResponseError(undefined, error);
  }

  isStale(error: Error): boolean {
    return this.#connection?.isStale(error) ?? false;
  }

  abandon(): void {
    if (this.#connection !== undefined) return this.#connection.abandon();
    const at = this.#queue.indexOf(this);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    this.#listener.onWaited(performance.now() - this.#since);
  }
}
