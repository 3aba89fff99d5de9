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
  /** By the slot's number since the epoch, in the order of time. */
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
      if (this.#endOf(slot) <= now) this.#slots.delete(slot);
      else sum += count;
    }
    return sum;
  }

  note(now: number, count = 1): void {
    const slot = Math.floor(now / this.#slotMs);
    this.#slots.set(slot, (this.#slots.get(slot) ?? 0) + count);
  }

  sent(now: number): void {
    this.#sentAt = now;
  }

  /** When the next request may go. @param inFlight each of them could be refused, and so could this one. */
  freeAt(now: number, inFlight = 0): number {
    const { limit, windowMs } = this.rule;
    let spent = this.spent(now) + inFlight;
    let from = now;
    let earliest = Number.POSITIVE_INFINITY;
    const consider = () => {
      const left = limit * STOP_AT - spent;
      if (spent < limit * SLOW_FROM) earliest = Math.min(earliest, from);
      else if (left >= 1) earliest = Math.min(earliest, Math.max(from, Math.ceil(this.#sentAt + windowMs / left)));
    };
    consider();
    for (const [slot, count] of this.#slots) {
      // What is to be had before the next refusals grow old is not to be had earlier after.
      if (earliest <= this.#endOf(slot)) break;
      from = this.#endOf(slot);
      spent -= count;
      consider();
    }
    return earliest;
  }

  /** When its refusals no longer count: the last of them may have come at the slot's end. */
  #endOf(slot: number): number {
    return Math.ceil((slot + 1) * this.#slotMs) + this.rule.windowMs;
  }
}
