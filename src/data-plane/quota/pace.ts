/** Limits that an upstream has and does not tell in its answers: so many points in any stretch of time. */

export interface PaceRule {
  readonly name: string;
  readonly points: number;
  readonly windowMs: number;
  /** Points of one request; 0 for one that does not count. */
  readonly costOf: (method: string, path: string) => number;
}

/** At most `points` in any `windowMs`, wherever it begins. Times are ms since the epoch, told by the caller. */
export class Pace {
  readonly rule: PaceRule;
  #spent: { readonly at: number; readonly cost: number }[] = [];
  #sum = 0;

  constructor(rule: PaceRule) {
    this.rule = rule;
  }

  /** When so many points are free at the earliest; now or before when they are. @param cost at most `points`. */
  freeAt(cost: number, now: number): number {
    if (cost === 0) return now;
    this.#forget(now);
    let missing = this.#sum + cost - this.rule.points;
    if (missing <= 0) return now;
    for (const { at, cost: freed } of this.#spent) {
      missing -= freed;
      if (missing <= 0) return at + this.rule.windowMs;
    }
    return now + this.rule.windowMs;
  }

  spend(cost: number, now: number): void {
    if (cost === 0) return;
    this.#spent.push({ at: now, cost });
    this.#sum += cost;
  }

  /** Nothing was sent after all. */
  giveBack(cost: number): void {
    const at = this.#spent.findLastIndex((each) => each.cost === cost);
    if (at === -1) return;
    this.#spent.splice(at, 1);
    this.#sum -= cost;
  }

  #forget(now: number): void {
    let over = 0;
    for (const { at, cost } of this.#spent) {
      if (at + this.rule.windowMs > now) break;
      this.#sum -= cost;
      over++;
    }
    if (over > 0) this.#spent = this.#spent.slice(over);
  }
}
