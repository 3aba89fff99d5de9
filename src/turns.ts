/**
 * Long work in pieces, between which the event loop turns: what is asked of all services at once must not keep a request waiting.
 * Invariant: no piece is longer than `PIECE_MS` and the step that it ends with.
 */
import { setImmediate } from "node:timers/promises";

/** A request that comes meanwhile waits this long at most, ms. */
const PIECE_MS = 10;

/** Of one piece of work; made where it begins. */
export class Turns {
  #since = performance.now();

  /** True once others have waited long enough: then `next` is due. Apart from it, because awaiting nothing costs, too. */
  get isOver(): boolean {
    return performance.now() - this.#since > PIECE_MS;
  }

  async next(): Promise<void> {
    await setImmediate();
    this.#since = performance.now();
  }
}

/** As `items.map(map)`. */
export async function mapInTurns<T, U>(items: Iterable<T>, map: (item: T) => U): Promise<U[]> {
  const turns = new Turns();
  const mapped: U[] = [];
  for (const item of items) {
    mapped.push(map(item));
    if (turns.isOver) await turns.next();
  }
  return mapped;
}

/** Work that stops after each of its steps: for who waits for all of it, and for who lets others in between. */
export type Steps<T> = Generator<void, T>;

export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

export async function inTurns<T>(steps: Steps<T>): Promise<T> {
  const turns = new Turns();
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    if (turns.isOver) await turns.next();
  }
}
