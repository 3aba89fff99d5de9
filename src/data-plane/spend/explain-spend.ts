/** What a dry run shows of the budgets and models of a request. */
import type { ExplainedBudget } from "../dry-run/explanation.ts";
import type { Spend } from "./spend.ts";
import type { Spending } from "./spending.ts";

export interface ExplainedSpend {
  readonly budgets: readonly ExplainedBudget[];
  readonly models: readonly string[] | null;
}

export async function explainSpend(
  spend: Pick<Spend, "budgets" | "models"> | undefined,
  spending: Pick<Spending, "stateOf">,
): Promise<ExplainedSpend> {
  const budgets = (spend?.budgets ?? []).map(async (charged) => {
    const { tokens, per, spent, remaining, resetIn } = await spending.stateOf(charged);
    return { of: charged.ownerKind, tokens, per, spent, remaining, resetIn };
  });
  const models = spend?.models ?? [];
  return { budgets: await Promise.all(budgets), models: models.length === 0 ? null : [...new Set(models.flat())] };
}
