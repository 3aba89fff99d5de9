/** Checks the budgets of tokens: whether one is spent, of a service or of a key. */
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  spent: {
    status: "warn",
    symptom: "429 BUDGET_EXCEEDED",
    fix: "Wait for evidence.spent[].resetIn seconds, or raise budget of the service, or of the key: PATCH /manage/keys/<id>. GET /manage/usage shows who spent it.",
  },
} as const;

/** Budgets beyond this number are only counted. */
const LISTED_LIMIT = 20;

export const budgets: Check = {
  id: "budgets",
  needs: "process",
  inspects: "the budgets of tokens of language models, of services and issued keys",
  findings: FINDINGS,
  async run({ services, budgets }) {
    const all = await budgets(services().map(({ service }) => service));
    const spent = all.filter(({ remaining }) => remaining === 0);
    const problems: Problem[] = spent.slice(0, LISTED_LIMIT).map(({ of, id, tokens, per }) => ({
      finding: FINDINGS.spent,
      message: `the ${of} ${id} has spent ${plural(tokens, "token")} per ${per}`,
    }));
    return conclude(problems, all.length === 0 ? "no budget is set" : `${plural(all.length, "budget")}, none spent`, {
      count: all.length,
      spentCount: spent.length,
      spent: spent.slice(0, LISTED_LIMIT).map(({ of, id, tokens, per, resetIn }) => ({ of, id, tokens, per, resetIn })),
    });
  },
};
