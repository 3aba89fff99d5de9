/**
 * Yields to the event loop during work that grows with the number of services, so that requests are served meanwhile.
 * Invariant: a caller that checks `isDue` after each step holds the event loop for `MAX_PIECE_MS` and one step at most.
 */
import { setImmediate } from "node:timers/promises";

const MAX_PIECE_MS = 10;

/** Create it where the work begins. */
export class Yielder {
  #resumedAt = performance.now();

  /** Separate from `yield`, because awaiting a promise costs time even when there is nothing to wait for. */
  get isDue(): boolean {
    return performance.now() - this.#resumedAt > MAX_PIECE_MS;
  }

  async yield(): Promise<void> {
    await setImmediate();
    this.#resumedAt = performance.now();
  }
}
