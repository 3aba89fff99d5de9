/**
 * How many connections each client address has: an IPv6 client by its /64, a mapped IPv4 one as IPv4.
 * Invariant: there is an entry for each address with something open, and for no other, so that memory is bounded by open sockets.
 */
import { addressKey } from "../limits/limiters.ts";

export class AddressCounts {
  readonly #counts = new Map<string, number>();

  /** Counts one more. @returns what it is counted under. */
  enter(address: string): string {
    const key = addressKey(address);
    this.#counts.set(key, this.of(key) + 1);
    return key;
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
