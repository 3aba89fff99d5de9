/** Limits the memory of all bodies that are held until their signatures are checked, and then until their requests end. */

const BUDGET_BYTES = 64 * 1_048_576;

export class ByteBudget {
  readonly limit: number;
  #taken = 0;

  constructor(limit = BUDGET_BYTES) {
    this.limit = limit;
  }

  get taken(): number {
    return this.#taken;
  }

  /** @returns false where the limit is exceeded; the bytes are taken nonetheless. */
  take(bytes: number): boolean {
    this.#taken += bytes;
    return this.#taken <= this.limit;
  }

  release(bytes: number): void {
    this.#taken -= bytes;
  }
}
