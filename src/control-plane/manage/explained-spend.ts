/** What an explanation shows of budgets and models. */
import { z } from "@hono/zod-openapi";
import { PERIODS } from "../../config/token-budget.ts";

export const EXPLAINED_SPEND = {
  budgets: z
    .array(
      z.strictObject({
        of: z.enum(["key", "issuer", "service"]),
        tokens: z.int(),
        per: z.enum(PERIODS),
        spent: z.int(),
        remaining: z.int(),
        resetIn: z.int().describe("seconds"),
      }),
    )
    .readonly()
    .describe("budgets of tokens that would count the request"),
  models: z
    .array(z.string())
    .readonly()
    .nullable()
    .describe("patterns for the models that the key may ask for; the body, which decides, is not explained"),
};
