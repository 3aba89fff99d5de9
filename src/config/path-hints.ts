/**
 * `pathHints` of a service, with their budgets.
 * Invariant: number, length and compiled size are checked before any pattern is compiled, so that a definition that is too large
 * costs no time and no memory, over REST or at a start.
 */
import { RE2JS } from "re2js";
import { z } from "zod";
import { patternSize } from "./pattern-size.ts";

const HINTS_LIMIT = 32;
const TEXT_LIMIT = 200;

/** Instructions of all patterns of one service: room for 32 patterns of 200 characters without counted repetitions. */
export const PATTERNS_SIZE_LIMIT = 8_192;

const pathHint = z.strictObject({
  match: z
    .string()
    .max(TEXT_LIMIT)
    .describe("regular expression (RE2, linear time) for the path after the service key"),
  message: z.string().min(1).max(TEXT_LIMIT).describe("what is wrong with the path"),
  hint: z.string().min(1).max(TEXT_LIMIT).optional().describe("what to request instead"),
});

export const pathHints = z
  .array(pathHint)
  .max(HINTS_LIMIT)
  .superRefine((hints, refinement) => {
    if (hints.length > HINTS_LIMIT || hints.some(({ match }) => match.length > TEXT_LIMIT)) return;
    const size = hints.reduce((sum, { match }) => sum + patternSize(match), 0);
    if (size > PATTERNS_SIZE_LIMIT) {
      refinement.addIssue({
        code: "custom",
        params: { isBudget: true },
        message: `patterns with a compiled size of at most ${PATTERNS_SIZE_LIMIT} instructions in all, these have ${shown(size)}; use smaller counts in {…}`,
      });
      return;
    }
    for (const [index, { match }] of hints.entries()) {
      if (isPattern(match)) continue;
      refinement.addIssue({
        code: "custom",
        path: [index, "match"],
        message: "a regular expression without look-around and back references (RE2)",
      });
    }
  });

const shown = (size: number) => (size > 1_000_000 ? "over a million" : String(size));

function isPattern(source: string): boolean {
  try {
    RE2JS.compile(source);
    return true;
  } catch {
    return false;
  }
}
