/** Refuses a request whose budget is spent. Requests in flight may still spend beyond it, each by its own cost. */
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import type { ChargedBudget, Spend } from "./spend.ts";
import type { BudgetState, Spending } from "./spending.ts";

const HINTS: Readonly<Record<ChargedBudget["ownerKind"], string>> = {
  key: "Wait for the seconds in Retry-After, or ask an operator to raise the `budget` of this key.",
  issuer:
    "Wait for the seconds in Retry-After, or ask an operator for a key of your own. Keys that a key issues share its `budget`.",
  service: "Wait for the seconds in Retry-After, or ask an operator to raise the `budget` of this service.",
};

/** The first budget that is spent decides. */
export async function decideBudget(
  { budgets }: Pick<Spend, "budgets">,
  spending: Pick<Spending, "stateOf">,
): Promise<GatewayError | undefined> {
  for (const charged of budgets) {
    const state = await spending.stateOf(charged);
    if (state.remaining === 0) return refusalOf(charged, state);
  }
  return undefined;
}

function refusalOf(
  { owner, ownerKind }: ChargedBudget,
  { tokens, per, spent, resetsAt, resetIn }: BudgetState,
): GatewayError {
  const budget = `${plural(tokens, "token")} per ${per}`;
  return new GatewayError("BUDGET_EXCEEDED", {
    message: `The budget of ${owner} is spent: ${budget}. The next ${per} begins in ${plural(resetIn, "second")}.`,
    headers: ["Retry-After", String(resetIn)],
    hint: HINTS[ownerKind],
    extra: { budget: { of: ownerKind, tokens, per, spent, resetsAt: new Date(resetsAt).toISOString() } },
  });
}
