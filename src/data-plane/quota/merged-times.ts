/** The times at which several credentials together can send requests of one kind, in their order. */

/** When a credential can send a request with `ahead` others ahead of it, ms since the epoch. It does not decrease. */
type TimeOf = (ahead: number) => number;

export class MergedTimes {
  readonly #credentials: readonly TimeOf[];
  /** Of each credential: the requests that it has sent so far, and when it can send the next one. */
  readonly #sent: number[];
  readonly #next: number[];

  /** @param credentials at least one. */
  constructor(credentials: readonly TimeOf[]) {
    this.#credentials = credentials;
    this.#sent = credentials.map(() => 0);
    this.#next = credentials.map((timeOf) => timeOf(0));
  }

  /** When the next request can be sent. */
  peek(): number {
    return Math.min(...this.#next);
  }

  /** The next request is sent. */
  next(): void {
    const first = this.#next.indexOf(this.peek());
    const sent = (this.#sent[first] ?? 0) + 1;
    this.#sent[first] = sent;
    this.#next[first] = this.#credentials[first]?.(sent) ?? Number.POSITIVE_INFINITY;
  }
}
