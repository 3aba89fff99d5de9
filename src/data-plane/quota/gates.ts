/**
 * Limits over all requests with one credential: closures, paces, the budget of refusals, requests in flight.
 * Invariant: each request that entered leaves once, and only an unsent request is refunded. Times are ms since the epoch, given by
 * the caller.
 */
import { withTrials } from "./long-hold.ts";
import { Pace, RefusalBudget } from "./paces.ts";
import type { QuotaRules } from "./rules.ts";

/** What a request costs at each of the paces. */
export type Costs = readonly number[];

/** Requests with equal costs wait for the same paces and are queued together; a request in another lane may overtake them. */
export const laneOf = (costs: Costs) => costs.join(" ");

const NONE: Costs = [];

/** The requests ahead of another one: their number, and the sum of their costs. */
export interface Ahead {
  count: number;
  readonly costs: number[];
}

export function aheadOf(requests: Iterable<{ readonly costs: Costs }>): Ahead {
  const ahead: Ahead = { count: 0, costs: [] };
  for (const { costs } of requests) addAhead(ahead, costs);
  return ahead;
}

export function addAhead(ahead: Ahead, costs: Costs): void {
  ahead.count++;
  costs.forEach((cost, index) => {
    ahead.costs[index] = (ahead.costs[index] ?? 0) + cost;
  });
}

interface BudgetState {
  readonly limit: number;
  readonly remaining: number;
  /** ms since the epoch. */
  readonly resetsAt: number;
}

export type GateRules = Pick<QuotaRules, "paces" | "refusals" | "maxInFlight" | "triesLongHolds">;

export class Gates {
  readonly #paces: readonly Pace[];
  readonly #budget: RefusalBudget | undefined;
  readonly #maxInFlight: number;
  readonly #configured: { readonly maxInFlight?: number };
  readonly #triesLongHolds: boolean;
  #closedUntil = 0;
  /** When the last request entered. */
  #enteredAt = 0;
  #inFlight = 0;

  /** @param configured read at each use, because the service may change. */
  constructor(
    { paces, refusals, maxInFlight, triesLongHolds }: GateRules,
    configured: { readonly maxInFlight?: number } = {},
  ) {
    this.#paces = paces.map((rule) => new Pace(rule));
    this.#budget = refusals === undefined ? undefined : new RefusalBudget(refusals);
    this.#maxInFlight = maxInFlight;
    this.#triesLongHolds = triesLongHolds;
    this.#configured = configured;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get closedUntil(): number {
    return this.#closedUntil;
  }

  /** Refusals that count towards a ban; undefined when the upstream has none. */
  refusals(now: number): number | undefined {
    return this.#budget?.spent(now);
  }

  costsOf(method: string, path: string): Costs {
    return this.#paces.length === 0 ? NONE : this.#paces.map(({ rule }) => rule.costOf(method, path));
  }

  /** When one more request may be sent; infinity while too many are in flight, because their duration is unknown. */
  freeAt(costs: Costs, now: number): number {
    const { maxInFlight = Number.POSITIVE_INFINITY } = this.#configured;
    if (this.#inFlight >= Math.min(this.#maxInFlight, maxInFlight)) return Number.POSITIVE_INFINITY;
    return this.estimate(costs, NONE, now);
  }

  /** The earliest time for one more request. @param ahead what the requests ahead of it cost together. */
  estimate(costs: Costs, ahead: Costs, now: number): number {
    let at = Math.max(now, this.#openAt(now), this.#budget?.freeAt(now, this.#inFlight) ?? 0);
    this.#paces.forEach((pace, index) => {
      at = Math.max(at, pace.estimate(costs[index] ?? 0, ahead[index] ?? 0, now));
    });
    return at;
  }

  #openAt(now: number): number {
    return this.#triesLongHolds ? withTrials(this.#closedUntil, this.#enteredAt, now) : this.#closedUntil;
  }

  enter(costs: Costs, now: number): void {
    this.#inFlight++;
    this.#enteredAt = now;
    this.#budget?.sent(now);
    this.#paces.forEach((pace, index) => {
      pace.spend(costs[index] ?? 0, now);
    });
  }

  leave(): void {
    this.#inFlight--;
  }

  /** Nothing was sent. @param at when the request entered. */
  refund(costs: Costs, at: number): void {
    this.#paces.forEach((pace, index) => {
      pace.refund(costs[index] ?? 0, at);
    });
  }

  /** @returns the state of the budget of refusals, if the response counts towards it. */
  note(status: number, scope: string | undefined, now: number): BudgetState | undefined {
    if (!this.#budget?.rule.counts(status, scope)) return undefined;
    this.#budget.note(now);
    const { limit, windowMs } = this.#budget.rule;
    return { limit, remaining: Math.max(0, limit - this.#budget.spent(now)), resetsAt: now + windowMs };
  }

  /** From the ledger, after a restart. */
  restoreBudget({ limit, remaining, resetsAt }: BudgetState): void {
    this.#budget?.note(resetsAt - this.#budget.rule.windowMs, limit - remaining);
  }

  /** A trial had a response. */
  reopen(): void {
    this.#closedUntil = 0;
  }

  close(until: number): void {
    this.#closedUntil = Math.max(this.#closedUntil, until);
  }
}
