/** The members of a rate limit that say how requests wait for it. */
import { z } from "@hono/zod-openapi";

export const waitMembers = {
  onLimit: z
    .enum(["refuse", "wait"])
    .optional()
    .describe("whether a request beyond the limit is refused or waits; absent: refused"),
  maxWaitMs: z.int().optional().describe("longest wait of a request; absent: 10000"),
  maxQueue: z.int().optional().describe("requests that may wait at the same time; absent: 1000"),
};
