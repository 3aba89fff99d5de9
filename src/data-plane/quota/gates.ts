/** What holds for everything that one credential asks for: closures, paces, the budget of refusals, requests in flight. */
import { Pace } from "./pace.ts";
import { RefusalBudget } from "./refusal-budget.ts";
import type { QuotaRules } from "./rules.ts";

interface Costly {
  readonly method: string;
  readonly path: string;
}

/** Times are ms since the epoch, told by the caller. */
export class Gates {
  readonly #paces: readonly Pace[];
  readonly #budget: RefusalBudget | undefined;
  readonly #maxInFlight: number;
  #closedUntil = 0;
  #inFlight = 0;

  constructor({ paces, refusals, maxInFlight }: QuotaRules) {
    this.#paces = paces.map((rule) => new Pace(rule));
    this.#budget = refusals === undefined ? undefined : new RefusalBudget(refusals);
    this.#maxInFlight = maxInFlight;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get closedUntil(): number {
    return this.#closedUntil;
  }

  /** Refusals that count towards a ban, where the upstream has one. */
  refusals(now: number): number | undefined {
    return this.#budget?.spent(now);
  }

  /** When one more may go; never while too many are in flight. */
  freeAt({ method, path }: Costly, now: number): number {
    if (this.#inFlight >= this.#maxInFlight) return Number.POSITIVE_INFINITY;
    let at = Math.max(this.#closedUntil, this.#budget?.freeAt(now) ?? 0);
    for (const pace of this.#paces) at = Math.max(at, pace.freeAt(pace.rule.costOf(method, path), now));
    return at;
  }

  /** When it may, with so many before it. */
  estimate({ method, path }: Costly, ahead: number, now: number): number {
    let at = Math.max(now, this.#closedUntil, this.#budget?.freeAt(now) ?? 0);
    for (const pace of this.#paces) {
      const cost = pace.rule.costOf(method, path);
      if (cost === 0) continue;
      const { points, windowMs } = pace.rule;
      at = Math.max(at, pace.freeAt(cost, now) + Math.floor((ahead * cost) / points) * windowMs);
    }
    return at;
  }

  enter({ method, path }: Costly, now: number): void {
    this.#inFlight++;
    this.#budget?.sent(now);
    for (const pace of this.#paces) pace.spend(pace.rule.costOf(method, path), now);
  }

  leave(): void {
    this.#inFlight--;
  }

  /** Nothing was sent. */
  giveBack({ method, path }: Costly): void {
    for (const pace of this.#paces) pace.giveBack(pace.rule.costOf(method, path));
  }

  note(status: number, scope: string | undefined, now: number): void {
    if (this.#budget?.rule.counts(status, scope)) this.#budget.note(now);
  }

  close(until: number): void {
    this.#closedUntil = Math.max(this.#closedUntil, until);
  }
}
