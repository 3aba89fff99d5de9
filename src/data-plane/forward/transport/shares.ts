/**
 * The connections of one service that each caller uses.
 * Invariant: no caller uses the last eighth of them, so that requests that do not end (trickled uploads, slow readers) never keep the
 * other callers out.
 */
import type { Share } from "./transport-contract.ts";

/** Callers without a connection that are remembered; about 200 bytes each. */
const IDLE_SHARES_LIMIT = 1_000;

export class Shares {
  /** Connections that one caller may use at the same time. */
  readonly limit: number;
  readonly #sharesLimit: number;
  readonly #shares = new Map<string, Share>();
  /** The one that was looked up last. */
  #last: Share = { party: "", busy: 0 };

  constructor(maxConnections: number) {
    const reserved = Math.max(1, Math.ceil(maxConnections / 8));
    this.limit = maxConnections > 1 ? maxConnections - reserved : maxConnections;
    this.#sharesLimit = maxConnections + IDLE_SHARES_LIMIT;
    this.#shares.set("", this.#last);
  }

  of(party: string): Share {
    if (this.#last.party === party) return this.#last;
    let share = this.#shares.get(party);
    if (share === undefined) {
      if (this.#shares.size >= this.#sharesLimit) this.#forgetIdle();
      share = { party, busy: 0 };
      this.#shares.set(party, share);
    }
    this.#last = share;
    return share;
  }

  /** Whether this caller may use one more connection, if one is free. */
  mayTake({ party, busy }: Share): boolean {
    return busy < this.limit || party === "";
  }

  #forgetIdle(): void {
    for (const [party, { busy }] of this.#shares) if (busy === 0 && party !== "") this.#shares.delete(party);
  }
}
