/**
 * How many connections each client address has.
 * Invariant: there is an entry for each address with something open, and for no other, so that memory is bounded by open sockets.
 */
export class AddressCounts {
  readonly #counts = new Map<string, number>();

  /** @param key of the address: `addressKey`. */
  enter(key: string): void {
    this.#counts.set(key, this.of(key) + 1);
  }

  leave(key: string): void {
    const left = this.of(key) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
  }

  of(key: string): number {
    return this.#counts.get(key) ?? 0;
  }

  /** Addresses with something open. */
  get size(): number {
    return this.#counts.size;
  }
}
