/** How a service's breaker stands, as `/status` and explain tell it. */
import { z } from "@hono/zod-openapi";

export const Breaker = z
  .strictObject({
    state: z
      .enum(["closed", "open", "half-open"])
      .describe("`half-open`: the next attempt, or the one under way, finds out whether the upstream is back"),
    failures: z.int().describe("attempts that failed, among `requests`"),
    requests: z
      .int()
      .describe("attempts within the window; while it is not closed, those that opened it and tried again"),
    retryAfter: z.int().nullable().describe("s until an attempt is let through; null unless it is open"),
  })
  .openapi("Breaker");
