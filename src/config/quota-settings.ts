/** The `quota` settings of a service. */
import { z } from "zod";

/** 31 days. */
const LONGEST_HOLD_MS = 31 * 86_400_000;

/** @param longestTimerMs for waits. */
export const quotaSettings = (longestTimerMs: number) =>
  z.strictObject({
    mode: z
      .enum(["off", "observe", "hold"])
      .optional()
      .describe(
        "`observe` learns the upstream's limits from its responses; `hold` also makes a request wait until the limits allow it; default: `hold` for discord and github, otherwise `observe`",
      ),
    maxWaitMs: z
      .int()
      .min(0)
      .max(longestTimerMs)
      .default(10_000)
      .describe("`hold`: longest wait of a request, ms; a caller's `Prefer: wait=<s>` takes precedence"),
    maxQueue: z
      .int()
      .min(0)
      .max(100_000)
      .default(1_000)
      .describe("`hold`: requests that may wait at the same time, for each credential"),
    maxHoldMs: z
      .int()
      .min(1_000)
      .max(LONGEST_HOLD_MS)
      .optional()
      .describe(
        "the longest time for which a response of the upstream counts, ms; at most 31 days; default: the longest window of the vendor, an hour for github, otherwise 24 hours",
      ),
  });
