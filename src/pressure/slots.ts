/**
 * Places for what may run at the same time: taken at admission, given back when the exchange is over.
 * Invariant: whoever waits for a place has the next one that is given back, before anybody who comes anew.
 */

export class Slots {
  /** 0 for no cap. */
  readonly limit: number;
  taken = 0;
  /** Those that gave their place back for as long as they wait for something else. */
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

  /** Told once, when a place is given back. @returns what takes it back. */
  onFree(listener: () => void): () => void {
    this.#next.add(listener);
    return () => this.#next.delete(listener);
  }
}
