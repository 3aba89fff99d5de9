/**
 * Slots for concurrent work: acquired at admission, released when the exchange is over.
 * Invariant: an exchange that waits for a slot gets the next one that is released, before a new request does.
 */

export class Slots {
  /** 0 for no cap. */
  readonly limit: number;
  taken = 0;
  /** Exchanges that released their slot while they wait for something else. */
  waiting = 0;
  readonly #next = new Set<() => void>();

  constructor(limit: number) {
    this.limit = limit;
  }

  get isFull(): boolean {
    return this.limit > 0 && this.taken >= this.limit;
  }

  release(): void {
    this.taken--;
    const [first] = this.#next;
    if (first === undefined) return;
    this.#next.delete(first);
    first();
  }

  /** Calls the listener once, when a slot is released. @returns a function that removes it. */
  onFree(listener: () => void): () => void {
    this.#next.add(listener);
    return () => this.#next.delete(listener);
  }
}
