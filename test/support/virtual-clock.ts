/** Time that passes when it is told to: hours of it in a moment, and always in the same order. */

export class VirtualClock {
  #now: number;
  #nextId = 0;
  readonly #due = new Map<number, { readonly at: number; readonly run: () => void }>();

  /** @param startsAt ms since the epoch. */
  constructor(startsAt = 1_800_000_000_000) {
    this.#now = startsAt;
  }

  readonly now = (): number => this.#now;

  readonly after = (ms: number, run: () => void): (() => void) => {
    const id = this.#nextId++;
    this.#due.set(id, { at: this.#now + Math.max(0, ms), run });
    return () => this.#due.delete(id);
  };

  readonly sleep = (ms: number): Promise<void> => new Promise((resolve) => void this.after(ms, resolve));

  /** Until nothing is due any more, or so much time has passed. */
  async run(forMs = Number.POSITIVE_INFINITY): Promise<void> {
    const until = this.#now + forMs;
    for (;;) {
      // What was set going runs as far as it can before time passes.
      await new Promise((resolve) => setImmediate(resolve));
      let next: { readonly id: number; readonly at: number; readonly run: () => void } | undefined;
      for (const [id, { at, run }] of this.#due) if (next === undefined || at < next.at) next = { id, at, run };
      if (next === undefined || next.at > until) break;
      this.#due.delete(next.id);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    if (Number.isFinite(until)) this.#now = until;
  }
}
