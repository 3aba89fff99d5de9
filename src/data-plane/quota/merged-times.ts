/** The times at which several credentials together can send requests of one kind, in their order. */

/** When a credential can send a request with `ahead` others ahead of it, ms since the epoch. It does not decrease. */
type TimeOf = (ahead: number) => number;

export class MergedTimes {
  readonly #credentials: readonly TimeOf[];
  /** Of each credential: the requests that it has sent so far, and when it can send the next one. */
  readonly #sent: number[];
  readonly #next: number[];
  /** The index of the earliest. */
  #first = 0;

  /** @param credentials at least one. */
  constructor(credentials: readonly TimeOf[]) {
    this.#credentials = credentials;
    this.#sent = credentials.map(() => 0);
    this.#next = credentials.map((timeOf) => timeOf(0));
    this.#findFirst();
  }

  /** When the next request can be sent. */
  peek(): number {
    return this.#next[this.#first] as number;
  }

  /** The next request is sent. */
  next(): void {
    const first = this.#first;
    const sent = (this.#sent[first] ?? 0) + 1;
    this.#sent[first] = sent;
    this.#next[first] = this.#credentials[first]?.(sent) ?? Number.POSITIVE_INFINITY;
    this.#findFirst();
  }

  #findFirst(): void {
    let first = 0;
    for (let i = 1; i < this.#next.length; i++) {
      if ((this.#next[i] as number) < (this.#next[first] as number)) first = i;
    }
    this.#first = first;
  }
}
