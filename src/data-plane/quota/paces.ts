/**
 * Limits that an upstream has but does not report in its responses: a pace (points per stretch of time), and a budget of refusals
 * after which it bans the client. Times are ms since the epoch, given by the caller.
 */

export interface PaceRule {
  readonly name: string;
  readonly points: number;
  readonly windowMs: number;
  /** Points of one request; 0 for one that does not count. */
  readonly costOf: (method: string, path: string) => number;
}

export interface RefusalBudgetRule {
  readonly limit: number;
  readonly windowMs: number;
  /** Whether a response counts. */
  readonly counts: (status: number, scope: string | undefined) => boolean;
}

/** Expired entries that may stay in the array before it is copied. */
const EXPIRED_LIMIT = 1_000;

/** At most `points` in any `windowMs`, wherever that begins. */
export class Pace {
  readonly rule: PaceRule;
  #spent: { readonly at: number; readonly cost: number }[] = [];
  /** Index of the first entry that still counts. */
  #first = 0;
  #sum = 0;

  constructor(rule: PaceRule) {
    this.rule = rule;
  }

  /** The earliest time at which the points are free; now if they already are. @param cost at most `points` of it count. */
  freeAt(cost: number, now: number): number {
    if (cost === 0) return now;
    this.#expire(now);
    const { points, windowMs } = this.rule;
    let missing = this.#sum + Math.min(cost, points) - points;
    for (let i = this.#first; missing > 0 && i < this.#spent.length; i++) {
      const { at, cost: freed } = this.#spent[i]!;
      missing -= freed;
      if (missing <= 0) return at + windowMs;
    }
    return now;
  }

  /** As `freeAt`, when `ahead` points are spent first: each `points` of them take one more window. */
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

  /** Nothing was sent. @param at when it was spent: removing a different entry would end the window too early. */
  refund(cost: number, at: number): void {
    const found = this.#spent.findLastIndex((each) => each.cost === cost && each.at === at);
    if (found < this.#first) return;
    this.#spent.splice(found, 1);
    this.#sum -= cost;
  }

  #expire(now: number): void {
    for (; this.#first < this.#spent.length; this.#first++) {
      const { at, cost } = this.#spent[this.#first]!;
      if (at + this.rule.windowMs > now) break;
      this.#sum -= cost;
    }
    if (this.#first < EXPIRED_LIMIT && this.#first < this.#spent.length) return;
    this.#spent = this.#spent.slice(this.#first);
    this.#first = 0;
  }
}

/** From this share of the budget on requests are spaced out; from the second on none is sent. */
const SLOW_FROM = 0.8;
const STOP_AT = 0.95;

const SLOTS = 60;

/**
 * An upstream bans a client after too many refusals. Requests slow down before the budget is spent, so that it never is; as the
 * refusals age, requests are sent freely again.
 */
export class RefusalBudget {
  readonly rule: RefusalBudgetRule;
  readonly #slotMs: number;
  /** Refusals by the number of their time slot since the epoch, in the order of time. */
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

  /** When the next request may be sent. @param inFlight each of them could be refused, as could this one. */
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
      // A time before the next slot expires cannot be improved on by that slot or a later one.
      if (earliest <= this.#endOf(slot)) break;
      from = this.#endOf(slot);
      spent -= count;
      consider();
    }
    return earliest;
  }

  /** When the slot's refusals no longer count. The last of them may have come at the slot's end. */
  #endOf(slot: number): number {
    return Math.ceil((slot + 1) * this.#slotMs) + this.rule.windowMs;
  }
}
