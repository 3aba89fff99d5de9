/** Limits that an upstream has and does not tell in its answers: so many points in any stretch of time. */

export interface PaceRule {
  readonly name: string;
  readonly points: number;
  readonly windowMs: number;
  /** Points of one request; 0 for one that does not count. */
  readonly costOf: (method: string, path: string) => number;
}

/** Entries that are over and still in the array: it is copied once for so many of them. */
const STALE_LIMIT = 1_000;

/** At most `points` in any `windowMs`, wherever it begins. Times are ms since the epoch, told by the caller. */
export class Pace {
  readonly rule: PaceRule;
  #spent: { readonly at: number; readonly cost: number }[] = [];
  /** Where those begin that still count. */
  #first = 0;
  #sum = 0;

  constructor(rule: PaceRule) {
    this.rule = rule;
  }

  /** When so many points are free at the earliest; now when they are. @param cost more than `points` is taken for all of them. */
  freeAt(cost: number, now: number): number {
    if (cost === 0) return now;
    this.#forget(now);
    const { points, windowMs } = this.rule;
    let missing = this.#sum + Math.min(cost, points) - points;
    for (let i = this.#first; missing > 0 && i < this.#spent.length; i++) {
      const { at, cost: freed } = this.#spent[i]!;
      missing -= freed;
      if (missing <= 0) return at + windowMs;
    }
    return now;
  }

  /** The same when so many points are to be spent before: each window's worth of them takes a window. */
  estimate(cost: number, ahead: number, now: number): number {
    if (cost === 0) return now;
    const { points, windowMs } = this.rule;
    const windowsBefore = Math.floor((ahead + cost - 1) / points);
    return this.freeAt(ahead + cost - windowsBefore * points, now) + windowsBefore * windowMs;
  }

  spend(cost: number, now: number): void {
    if (cost === 0) return;
    this.#spent.push({ at: now, cost });
    this.#sum += cost;
  }

  /** Nothing was sent after all. @param at when it was spent: another entry in its place would end the window too early. */
  giveBack(cost: number, at: number): void {
    const found = this.#spent.findLastIndex((each) => each.cost === cost && each.at === at);
    if (found < this.#first) return;
    this.#spent.splice(found, 1);
    this.#sum -= cost;
  }

  #forget(now: number): void {
    for (; this.#first < this.#spent.length; this.#first++) {
      const { at, cost } = this.#spent[this.#first]!;
      if (at + this.rule.windowMs > now) break;
      this.#sum -= cost;
    }
    if (this.#first < STALE_LIMIT && this.#first < this.#spent.length) return;
    this.#spent = this.#spent.slice(this.#first);
    this.#first = 0;
  }
}
