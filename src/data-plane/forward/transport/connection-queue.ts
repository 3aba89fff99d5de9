/**
 * The requests that wait for a connection: fair between callers, first come first served within one.
 * Invariant: a request whose connection was found closed goes first; and no request waits while its caller may take a free connection.
 */
import { FairQueue } from "../../../fair-queue.ts";
import type { Waiter } from "./waiter.ts";

export class ConnectionQueue {
  /** A plain member: it is read whenever a connection is free. */
  size = 0;
  readonly #urgent: Waiter[] = [];
  readonly #queue = new FairQueue<Waiter>();

  add(waiter: Waiter): void {
    this.size++;
    if (waiter.on === "new") this.#urgent.push(waiter);
    else this.#queue.push(waiter.request.party, waiter);
  }

  /** @returns false if it was not there. */
  remove(waiter: Waiter): boolean {
    const at = this.#urgent.indexOf(waiter);
    const isFound = at >= 0 || this.#queue.remove(waiter.request.party, waiter);
    if (at >= 0) this.#urgent.splice(at, 1);
    if (isFound) this.size--;
    return isFound;
  }

  /** Removes the next request of a caller that may have a connection. */
  take(mayGo: (party: string) => boolean): Waiter | undefined {
    if (this.#urgent.length > 0) {
      const at = this.#urgent.findIndex(({ request }) => mayGo(request.party));
      if (at >= 0) {
        this.size--;
        return this.#urgent.splice(at, 1)[0];
      }
    }
    const next = this.#queue.peekOf(mayGo);
    if (next === undefined) return undefined;
    this.size--;
    this.#queue.shift(next.request.party, next);
    return next;
  }

  /** The last request of the caller with the most; undefined if this caller has as many itself. */
  lastOfMost(party: string): Waiter | undefined {
    return this.#queue.lastOfMost(party);
  }

  takeAll(): Waiter[] {
    const all = [...this.#urgent.splice(0), ...this.#queue.inOrder()];
    for (const waiter of all) this.#queue.remove(waiter.request.party, waiter);
    this.size = 0;
    return all;
  }
}
