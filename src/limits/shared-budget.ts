/**
 * Limits what all clients together hold of something before it is known who they are: bytes in memory, or places in a queue.
 * Invariant: the clients of one address hold at most half of it, so that one stranger cannot use it up; and memory is kept only for
 * addresses that hold something.
 */
import { createAddressKeys } from "./address-key.ts";

export class SharedBudget {
  readonly limit: number;
  readonly #limitOfOne: number;
  readonly #byAddress = new Map<string, number>();
  readonly #keyOf = createAddressKeys();
  #taken = 0;

  constructor(limit: number) {
    this.limit = limit;
    this.#limitOfOne = Math.floor(limit / 2);
  }

  get taken(): number {
    return this.#taken;
  }

  /** @returns false where a limit is exceeded; the amount is taken nonetheless, and has to be released. */
  take(amount: number, address: string): boolean {
    const ofAddress = this.#change(amount, address);
    return this.#taken <= this.limit && ofAddress <= this.#limitOfOne;
  }

  release(amount: number, address: string): void {
    this.#change(-amount, address);
  }

  #change(amount: number, address: string): number {
    this.#taken += amount;
    const key = this.#keyOf(address);
    const ofAddress = (this.#byAddress.get(key) ?? 0) + amount;
    if (ofAddress === 0) this.#byAddress.delete(key);
    else this.#byAddress.set(key, ofAddress);
    return ofAddress;
  }
}
