/** The `rateLimit` of a service. */
import { z } from "zod";

/** @param longestTimerMs for windows and waits. */
export const rateLimitSchema = (longestTimerMs: number) =>
  z
    .strictObject({
      maxRequests: z.int().min(1).max(1_000_000_000).describe("requests allowed in a window"),
      windowMs: z.int().min(1000).max(longestTimerMs).describe("length of the fixed window, ms; at most 24.8 days"),
      per: z
        .enum(["service", "caller", "ip"])
        .default("service")
        .describe("whether requests are counted for the whole service, for each caller or for each address"),
      onLimit: z
        .enum(["refuse", "wait"])
        .optional()
        .describe("whether a request beyond the limit is refused or waits for a later window; default: `refuse`"),
      maxWaitMs: z
        .int()
        .min(0)
        .max(longestTimerMs)
        .optional()
        .describe(
          "`onLimit: wait`: longest wait of a request, ms; a caller's `Prefer: wait=<s>` takes precedence; default: 10000",
        ),
      maxQueue: z
        .int()
        .min(0)
        .max(100_000)
        .optional()
        .describe("`onLimit: wait`: requests that may wait at the same time; default: 1000"),
    })
    .superRefine(({ onLimit, maxWaitMs, maxQueue }, refinement) => {
      if (onLimit === "wait") return;
      const problem = (path: string) =>
        refinement.addIssue({ code: "custom", path: [path], message: `${path} only with onLimit wait` });
      if (maxWaitMs !== undefined) problem("maxWaitMs");
      if (maxQueue !== undefined) problem("maxQueue");
    });

export type RateLimit = z.infer<ReturnType<typeof rateLimitSchema>>;
