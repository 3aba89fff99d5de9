/** Simulated time: it passes only in `run`, hours in a moment, and timers always fire in the same order. */

interface Due {
  readonly at: number;
  /** Of timers due at the same time, the one set earlier fires earlier. */
  readonly id: number;
  run: (() => void) | undefined;
}

export class VirtualClock {
  #now: number;
  #nextId = 0;
  /** A binary heap: the timer due first is the first. */
  readonly #heap: Due[] = [];

  /** @param startsAt ms since the epoch. */
  constructor(startsAt = 1_800_000_000_000) {
    this.#now = startsAt;
  }

  readonly now = (): number => this.#now;

  readonly after = (ms: number, run: () => void): (() => void) => {
    const due: Due = { at: this.#now + Math.max(0, ms), id: this.#nextId++, run };
    this.#push(due);
    return () => {
      due.run = undefined;
    };
  };

  readonly sleep = (ms: number): Promise<void> => new Promise((resolve) => void this.after(ms, resolve));

  /** Runs until no timer is left, or until this much time has passed. */
  async run(forMs = Number.POSITIVE_INFINITY): Promise<void> {
    const until = this.#now + forMs;
    for (;;) {
      // Pending promises are settled before time passes.
      await new Promise((resolve) => setImmediate(resolve));
      let next = this.#heap[0];
      while (next !== undefined && next.run === undefined) {
        this.#pop();
        next = this.#heap[0];
      }
      if (next === undefined || next.at > until) break;
      this.#pop();
      this.#now = Math.max(this.#now, next.at);
      next.run?.();
    }
    if (Number.isFinite(until)) this.#now = until;
  }

  #push(due: Due): void {
    const heap = this.#heap;
    let at = heap.push(due) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(due, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = due;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Due, b: Due) => a.at < b.at || (a.at === b.at && a.id < b.id);
