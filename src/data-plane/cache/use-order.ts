/**
 * Items in the order of their last use, as a linked list: every step takes constant time and no memory. A Map that is reordered is
 * built anew every so often, and an iterator over it keeps every table that the Map ever had.
 */

/** The neighbors of an item. Only `UseOrder` sets them. */
export interface Ordered<T> {
  older: T | undefined;
  newer: T | undefined;
}

export class UseOrder<T extends Ordered<T>> {
  #oldest: T | undefined;
  #newest: T | undefined;

  /** The least recently used one. */
  get oldest(): T | undefined {
    return this.#oldest;
  }

  /** Adds an item, or moves it to the end. */
  use(item: T): void {
    if (item === this.#newest) return;
    this.remove(item);
    item.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = item;
    else this.#newest.newer = item;
    this.#newest = item;
  }

  /** Does nothing for an item that is not there. */
  remove(item: T): void {
    const { older, newer } = item;
    if (older !== undefined) older.newer = newer;
    else if (this.#oldest === item) this.#oldest = newer;
    if (newer !== undefined) newer.older = older;
    else if (this.#newest === item) this.#newest = older;
    item.older = undefined;
    item.newer = undefined;
  }

  clear(): void {
    this.#oldest = undefined;
    this.#newest = undefined;
  }
}
