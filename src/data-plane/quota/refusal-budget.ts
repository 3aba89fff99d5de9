/**
 * A ban that threatens whoever is refused too often: so many answers that count in so long a time.
 * Invariant: requests slow down before the budget is spent, so that it never is; and as the refusals grow old, they go freely again.
 */

export interface RefusalBudgetRule {
  readonly limit: number;
  readonly windowMs: number;
  /** Whether an answer counts. */
  readonly counts: (status: number, scope: string | undefined) => boolean;
}

/** Share of the budget from which on requests are spaced, and beyond which none is sent. */
const SLOW_FROM = 0.8;
const STOP_AT = 0.95;

const SLOTS = 60;

/** Times are ms since the epoch, told by the caller. */
export class RefusalBudget {
  readonly rule: RefusalBudgetRule;
  readonly #slotMs: number;
  /** By the slot's number since the epoch. */
  readonly #slots = new Map<number, number>();
  #sentAt = 0;

  constructor(rule: RefusalBudgetRule) {
    this.rule = rule;
    this.#slotMs = rule.windowMs / SLOTS;
  }

  /** Refusals that still count. */
  spent(now: number): number {
    let sum = 0;
    for (const [slot, count] of this.#slots) {
      // To the end of its slot, because that is when its last one may have come.
      if ((slot + 1) * this.#slotMs + this.rule.windowMs <= now) this.#slots.delete(slot);
      else sum += count;
    }
    return sum;
  }

  note(now: number): void {
    const slot = Math.floor(now / this.#slotMs);
    this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + 1);
  }

  sent(now: number): void {
    this.#sentAt = now;
  }

  /** When the next request may go: each of them could be refused. */
  freeAt(now: number): number {
    const { limit, windowMs } = this.rule;
    const spent = this.spent(now);
    if (spent < limit * SLOW_FROM) return now;
    const left = limit * STOP_AT - spent;
    if (left >= 1) return Math.max(now, this.#sentAt + windowMs / left);
    const oldest = Math.min(...this.#slots.keys());
    return (oldest + 1) * this.#slotMs + windowMs;
  }
}
