/**
 * How many retries a service's upstream is spared: each request pays half a retry in, each retry costs a whole one.
 * Invariant: over any run attempts are at most 1.5 times the requests, and ten; so retries never double the load on an
 * upstream that fails, and a lone request still gets all of its own.
 */

const RESERVE = 10;
const PER_REQUEST = 0.5;

export class RetryBudget {
  /** Retries that were not made for want of budget, since the start. */
  withheld = 0;
  #left = RESERVE;

  /** A first attempt is made. */
  deposit(): void {
    if (this.#left < RESERVE) this.#left += PER_REQUEST;
  }

  /** Pays for a retry; false where it must not be made. */
  take(): boolean {
    if (this.#left < 1) {
      this.withheld++;
      return false;
    }
    this.#left--;
    return true;
  }
}
