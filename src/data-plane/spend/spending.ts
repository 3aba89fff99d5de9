/**
 * The budgets of services and keys, and what was spent of them; by caller, service and model.
 * Invariant: names of models are text of upstreams and callers, so their length, characters and number are bounded.
 */
import type { KeySpendings } from "../../callers/key-spending.ts";
import type { Service } from "../../config/schema.ts";
import { type TokenBudget, windowEnd, windowStart } from "../../config/token-budget.ts";
import type { Tallies, Tally, TokenCounts } from "../../stores/tallies.ts";
import { ChargedResponses, totalOf } from "./charged-responses.ts";
import { type Charge, type ChargedBudget, Spend, type SpendingExchange } from "./spend.ts";

/** A budget with what is left of it. */
export interface BudgetState extends TokenBudget {
  readonly spent: number;
  readonly remaining: number;
  /** ms since the epoch. */
  readonly resetsAt: number;
  /** Until then, seconds, at least one. */
  readonly resetIn: number;
}

export interface OwnedBudget extends BudgetState {
  readonly of: "key" | "service";
  /** Of the key, or the key of the service. */
  readonly id: string;
}

/** Tokens of one caller, service and model. */
export interface SpentTokens extends TokenCounts {
  readonly caller: string;
  readonly service: string;
  readonly model: string;
  readonly total: number;
}

/** Since the start of the process. */
export interface CountedTokens {
  readonly model: string;
  readonly kind: keyof TokenCounts;
  readonly count: number;
}

export interface SpendingParts {
  readonly tallies: Tallies;
  readonly keys: KeySpendings;
  readonly logger: { warn(fields: object, text: string): void };
  /** ms since the epoch. */
  readonly now?: (() => number) | undefined;
}

/** Models of one service that are named; the rest are `other`. */
const MODELS_LIMIT = 50;
const OTHER = "other";
const MODEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,63}$/;

/** No part of a tally's key contains it. */
const SEPARATOR = "\n";
const keyTally = (id: string) => `key${SEPARATOR}${id}`;
const serviceTally = (key: string) => `service${SEPARATOR}${key}`;
const USED = `used${SEPARATOR}`;

export class Spending {
  readonly #parts: SpendingParts;
  readonly #now: () => number;
  /** By service and model. */
  readonly #counted = new Map<string, Map<string, TokenCounts>>();
  readonly #charged = new ChargedResponses();
  readonly #encodedServices = new Set<string>();

  constructor(parts: SpendingParts) {
    this.#parts = parts;
    this.#now = parts.now ?? Date.now;
  }

  /** Undefined where nothing is counted or restricted. @param keyId of the caller's issued key. */
  of(exchange: SpendingExchange, keyId: string | undefined, service: Service): Spend | undefined {
    const rules = keyId === undefined ? undefined : this.#parts.keys.of(keyId);
    const { budget, key: serviceKey } = service;
    if (rules === undefined && budget === undefined) return undefined;
    const budgets: ChargedBudget[] = (rules?.budgets ?? []).map(({ id, budget }) =>
      id === keyId
        ? { tally: keyTally(id), budget, owner: "this key", ownerKind: "key" }
        : { tally: keyTally(id), budget, owner: "the key that issued this one", ownerKind: "issuer" },
    );
    if (budget !== undefined) {
      budgets.push({ tally: serviceTally(serviceKey), budget, owner: serviceKey, ownerKind: "service" });
    }
    return new Spend(exchange, {
      budgets,
      models: rules?.models ?? [],
      charge: (charged, charge) => this.#charge(charged, budgets, charge),
      noteEncoded: () => this.#noteEncoded(serviceKey),
    });
  }

  async stateOf({ tally, budget }: Pick<ChargedBudget, "tally" | "budget">): Promise<BudgetState> {
    const now = this.#now();
    const spent = await this.#parts.tallies.total(tally, budget.per, now);
    const resetsAt = windowEnd(budget.per, now);
    const resetIn = Math.max(1, Math.ceil((resetsAt - now) / 1_000));
    const { tokens, per } = budget;
    return { tokens, per, spent, remaining: Math.max(0, tokens - spent), resetsAt, resetIn };
  }

  /** Undefined for a service without a budget. */
  ofService({ key, budget }: Pick<Service, "key" | "budget">): Promise<BudgetState> | undefined {
    return budget && this.stateOf({ tally: serviceTally(key), budget });
  }

  /** Of every key with a budget, and of those of the services that have one. */
  async budgets(services: Iterable<Pick<Service, "key" | "budget">>): Promise<readonly OwnedBudget[]> {
    const states: OwnedBudget[] = [];
    for (const { id, budget } of this.#parts.keys.budgets()) {
      states.push({ of: "key", id, ...(await this.stateOf({ tally: keyTally(id), budget })) });
    }
    for (const service of services) {
      const state = await this.ofService(service);
      if (state !== undefined) states.push({ of: "service", id: service.key, ...state });
    }
    return states;
  }

  /** What was spent in the current window. */
  async used(per: TokenBudget["per"]): Promise<{ from: number; until: number; rows: readonly SpentTokens[] }> {
    const now = this.#now();
    const tallies = await this.#parts.tallies.list(USED, per, now);
    return { from: windowStart(per, now), until: windowEnd(per, now), rows: tallies.map(readTally) };
  }

  close(): void {
    this.#parts.keys.close();
  }

  /** Of a service that was removed. */
  forget(service: string): void {
    this.#counted.delete(service);
  }

  /** For the metrics. */
  counted(service: string): readonly CountedTokens[] {
    const found: CountedTokens[] = [];
    for (const [model, counts] of this.#counted.get(service) ?? []) {
      for (const [kind, count] of Object.entries(counts) as [keyof TokenCounts, number][]) {
        if (count > 0) found.push({ model, kind, count });
      }
    }
    return found;
  }

  #charge(
    { method, serviceKey, callerId }: SpendingExchange,
    budgets: readonly ChargedBudget[],
    { counts: reported, model, id }: Charge,
  ): number | undefined {
    const counts = this.#charged.take(method, serviceKey, id, reported);
    if (counts === undefined) return undefined;
    const now = this.#now();
    const name = this.#countMetrics(serviceKey, model, counts);
    const { tallies } = this.#parts;
    for (const { tally } of budgets) void tallies.add(tally, counts, now);
    const fallback = usedTally(OTHER, serviceKey, OTHER);
    void tallies.add(usedTally(callerId, serviceKey, name), counts, now, fallback);
    return totalOf(counts);
  }

  /** @returns the name under which the model is counted. */
  #countMetrics(serviceKey: string, model: string | undefined, counts: TokenCounts): string {
    const models = this.#counted.get(serviceKey) ?? new Map<string, TokenCounts>();
    this.#counted.set(serviceKey, models);
    const isNamed = model !== undefined && MODEL_NAME.test(model);
    const name = isNamed && (models.has(model) || models.size < MODELS_LIMIT) ? model : OTHER;
    const before = models.get(name) ?? { input: 0, cached: 0, output: 0, estimated: 0 };
    models.set(name, {
      input: before.input + counts.input,
      cached: before.cached + counts.cached,
      output: before.output + counts.output,
      estimated: before.estimated + counts.estimated,
    });
    return name;
  }

  /** One line for each service: an upstream may encode every response. */
  #noteEncoded(service: string): void {
    if (this.#encodedServices.has(service)) return;
    this.#encodedServices.add(service);
    const text = "a response is encoded, although the gateway asked for identity: its tokens are estimated";
    this.#parts.logger.warn({ service }, text);
  }
}

function usedTally(caller: string, service: string, model: string): string {
  return `${USED}${[caller, service, model].join(SEPARATOR)}`;
}

function readTally({ key, ...counts }: Tally): SpentTokens {
  const [caller = "", service = "", model = ""] = key.slice(USED.length).split(SEPARATOR);
  return { caller, service, model, ...counts };
}
