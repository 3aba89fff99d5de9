/** `/manage/usage`: tokens of language models by caller, service and model, and what is left of the budgets. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { PERIODS } from "../../config/token-budget.ts";
import type { SpentTokens } from "../../data-plane/spend/spending.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { firstOf, OTHER_FILTERS, queryOf, SERVICE_AND_STATUS } from "./exchange-query.ts";

/** For each of the lists. */
const LISTED_LIMIT = 1_000;

const Spent = z
  .strictObject({
    caller: z.string(),
    service: z.string(),
    model: z.string().describe("as the upstream names it; `other` for names that are long, odd, or too many"),
    input: z.int().describe("tokens that the model read, without those of `cached`"),
    cached: z.int().describe("tokens that it read from the upstream's cache of prompts"),
    output: z.int(),
    estimated: z.int().describe("for responses that did not report what they cost"),
    total: z.int().describe("the sum of these, which budgets count"),
  })
  .openapi("SpentTokens");

const Budget = z
  .strictObject({
    of: z.enum(["key", "service"]),
    id: z.string().describe("of the key, or the key of the service"),
    tokens: z.int(),
    per: z.enum(PERIODS),
    spent: z.int(),
    remaining: z.int(),
    resetsAt: z.iso.datetime(),
  })
  .openapi("TokenBudget");

const EXAMPLE = {
  per: "day" as const,
  from: "2026-11-29T00:00:00.000Z",
  until: "2026-11-30T00:00:00.000Z",
  usage: [
    {
      caller: "key_4fT9kQ2mXa81",
      service: "openai",
      model: "gpt-4o-mini-2024-07-18",
      input: 51_200,
      cached: 8_960,
      output: 12_044,
      estimated: 0,
      total: 72_204,
    },
  ],
  count: 1,
  budgets: [
    {
      of: "key" as const,
      id: "key_4fT9kQ2mXa81",
      tokens: 100_000,
      per: "day" as const,
      spent: 72_204,
      remaining: 27_796,
      resetsAt: "2026-11-30T00:00:00.000Z",
    },
  ],
};

const per = firstOf(z.enum(PERIODS, "hour, day or month").default("day")).openapi({
  type: "string",
  enum: [...PERIODS],
  default: "day",
  description: "the current window that is shown, in UTC",
});

const route = createRoute({
  method: "get",
  path: "/usage",
  operationId: "listUsage",
  summary: "List the tokens of language models that were spent",
  description:
    "Of requests that a `budget` counts, by caller, service and model, the largest first. The budgets are those of services and issued keys, each with its own window.",
  ...forOperators("Management", "VALIDATION_ERROR"),
  request: { query: queryOf({ per, service: SERVICE_AND_STATUS.service, caller: OTHER_FILTERS.caller }) },
  responses: {
    200: json(
      `At most ${LISTED_LIMIT} entries in each list; \`count\` is the number of all that were selected.`,
      z.strictObject({
        per: z.enum(PERIODS),
        from: z.iso.datetime(),
        until: z.iso.datetime(),
        usage: z.array(Spent),
        count: z.int(),
        budgets: z.array(Budget).describe("those with the least left of them first"),
      }),
      EXAMPLE,
      NO_STORE,
    ),
  },
});

export function addUsageRoute(
  routes: OpenAPIHono<CallerEnv>,
  { spending, registry }: Pick<ControlPlaneParts, "spending" | "registry">,
): void {
  routes.openapi(route, async (context) => {
    const { per, service, caller } = context.req.valid("query");
    const { from, until, rows } = await spending.used(per);
    const isSelected = (row: SpentTokens) =>
      (service === undefined || row.service === service) && (caller === undefined || row.caller === caller);
    const selected = rows.filter(isSelected).sort((a, b) => b.total - a.total);
    const budgets = (await spending.budgets(registry.list()))
      .filter(({ of, id }) => id === ((of === "key" ? caller : service) ?? id))
      .map(({ resetIn: _, resetsAt, ...budget }) => ({ ...budget, resetsAt: new Date(resetsAt).toISOString() }));
    budgets.sort((a, b) => a.remaining / a.tokens - b.remaining / b.tokens);
    const body = {
      per,
      from: new Date(from).toISOString(),
      until: new Date(until).toISOString(),
      usage: selected.slice(0, LISTED_LIMIT),
      count: selected.length,
      budgets: budgets.slice(0, LISTED_LIMIT),
    };
    return context.json(body, 200, { "Cache-Control": "no-store" });
  });
}
