/**
 * What an issued key may spend and ask for: its own rules and those of the keys that issued it.
 * Invariant: a request of a key without rules costs one comparison while no key has any, else one look-up.
 */
import type { TokenBudget } from "../config/token-budget.ts";
import type { Records } from "../stores/records.ts";
import type { StoredKey } from "./issued-key.ts";
import type { KeyFamily } from "./key-family.ts";

export interface KeyBudget {
  /** The id of the key whose budget it is. */
  readonly id: string;
  readonly budget: TokenBudget;
}

export interface KeySpending {
  /** Its own first. */
  readonly budgets: readonly KeyBudget[];
  /** The patterns of each key that has some: a model must be allowed by each of them. */
  readonly models: readonly (readonly string[])[];
}

export interface KeySpendings {
  /** Undefined for a key without rules. */
  of(id: string): KeySpending | undefined;
  /** Every key with a budget, in any state. */
  budgets(): Iterable<KeyBudget>;
  close(): void;
}

export function createKeySpendings(
  { entries, watch }: Pick<Records<StoredKey>, "entries" | "watch">,
  { issuersOf }: Pick<KeyFamily, "issuersOf">,
): KeySpendings {
  /** Ids of the keys with rules of their own. */
  const ruled = new Set<string>();
  /** Until a key with rules changes. */
  let known = new Map<string, KeySpending | undefined>();

  function update(id: string): void {
    const key = entries.get(id)?.value;
    if (key?.budget || key?.models) ruled.add(id);
    else ruled.delete(id);
    if (known.size > 0) known = new Map();
  }

  function find(id: string): KeySpending | undefined {
    const budgets: KeyBudget[] = [];
    const models: (readonly string[])[] = [];
    for (const each of [id, ...issuersOf(id)]) {
      const key = entries.get(each)?.value;
      if (key?.budget) budgets.push({ id: each, budget: key.budget });
      if (key?.models) models.push(key.models);
    }
    return budgets.length + models.length === 0 ? undefined : { budgets, models };
  }

  for (const id of entries.keys()) update(id);
  const stop = watch(update);

  return {
    of(id) {
      if (ruled.size === 0) return undefined;
      // Of a token there is no key, and there are many of them.
      if (known.has(id) || !entries.has(id)) return known.get(id);
      const found = find(id);
      known.set(id, found);
      return found;
    },
    *budgets() {
      for (const id of ruled) {
        const budget = entries.get(id)?.value.budget;
        if (budget) yield { id, budget };
      }
    },
    close: stop,
  };
}
