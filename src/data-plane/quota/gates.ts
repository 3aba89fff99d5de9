/**
 * What holds for everything that one credential asks for: closures, paces, the budget of refusals, requests in flight.
 * Invariant: whatever entered leaves once, and only what was not sent gives back what it spent.
 */
import { Pace } from "./pace.ts";
import { RefusalBudget } from "./refusal-budget.ts";
import type { QuotaRules } from "./rules.ts";

/** What a request costs at each of the paces. */
export type Costs = readonly number[];

/** Requests of one lane are held back by the same paces, and so by each other; those of another one may pass them. */
export const laneOf = (costs: Costs) => costs.join(" ");

const NONE: Costs = [];

/** Times are ms since the epoch, told by the caller. */
export class Gates {
  readonly #paces: readonly Pace[];
  readonly #budget: RefusalBudget | undefined;
  readonly #maxInFlight: number;
  readonly #configured: { readonly maxInFlight?: number };
  #closedUntil = 0;
  #inFlight = 0;

  /** @param configured asked each time, because a service may be changed. */
  constructor(
    { paces, refusals, maxInFlight }: Pick<QuotaRules, "paces" | "refusals" | "maxInFlight">,
    configured: { readonly maxInFlight?: number } = {},
  ) {
    this.#paces = paces.map((rule) => new Pace(rule));
    this.#budget = refusals === undefined ? undefined : new RefusalBudget(refusals);
    this.#maxInFlight = maxInFlight;
    this.#configured = configured;
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

  costsOf(method: string, path: string): Costs {
    return this.#paces.map(({ rule }) => rule.costOf(method, path));
  }

  /** When one more may go; infinity while too many are in flight, because nobody knows how long they take. */
  freeAt(costs: Costs, now: number): number {
    const { maxInFlight = Number.POSITIVE_INFINITY } = this.#configured;
    if (this.#inFlight >= Math.min(this.#maxInFlight, maxInFlight)) return Number.POSITIVE_INFINITY;
    return this.estimate(costs, NONE, now);
  }

  /** When it may at the earliest. @param ahead what those before it cost together. */
  estimate(costs: Costs, ahead: Costs, now: number): number {
    let at = Math.max(now, this.#closedUntil, this.#budget?.freeAt(now, this.#inFlight) ?? 0);
    this.#paces.forEach((pace, index) => {
      at = Math.max(at, pace.estimate(costs[index] ?? 0, ahead[index] ?? 0, now));
    });
    return at;
  }

  enter(costs: Costs, now: number): void {
    this.#inFlight++;
    this.#budget?.sent(now);
    this.#paces.forEach((pace, index) => {
      pace.spend(costs[index] ?? 0, now);
    });
  }

  leave(): void {
    this.#inFlight--;
  }

  /** Nothing was sent. @param at when it entered. */
  giveBack(costs: Costs, at: number): void {
    this.#paces.forEach((pace, index) => {
      pace.giveBack(costs[index] ?? 0, at);
    });
  }

  /** @returns what is left of the budget of refusals, where the answer was one of them. */
  note(status: number, scope: string | undefined, now: number): Budget | undefined {
    if (!this.#budget?.rule.counts(status, scope)) return undefined;
    this.#budget.note(now);
    const { limit, windowMs } = this.#budget.rule;
    return { limit, remaining: Math.max(0, limit - this.#budget.spent(now)), resetsAt: now + windowMs };
  }

  /** What was known when the process ended. */
  restoreBudget({ limit, remaining, resetsAt }: Budget): void {
    this.#budget?.note(resetsAt - this.#budget.rule.windowMs, limit - remaining);
  }

  close(until: number): void {
    this.#closedUntil = Math.max(this.#closedUntil, until);
  }
}

interface Budget {
  readonly limit: number;
  readonly remaining: number;
  /** ms since the epoch. */
  readonly resetsAt: number;
}
