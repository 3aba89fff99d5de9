/** The `budget` of a service or of an issued key: tokens in a window of the calendar, in UTC. */
import { z } from "zod";

export const PERIODS = ["hour", "day", "month"] as const;

export type Period = (typeof PERIODS)[number];

export interface TokenBudget {
  readonly tokens: number;
  readonly per: Period;
}

/** Sums of it stay exact. */
export const BUDGET_TOKENS_LIMIT = 1_000_000_000_000;

export const tokenBudget = z.strictObject({
  tokens: z.int().min(1).max(BUDGET_TOKENS_LIMIT).describe("tokens allowed in a window"),
  per: z.enum(PERIODS).describe("the window: an hour, a day or a month of the calendar, in UTC"),
});

/** @returns the moment at which the window that contains `now` began, ms since the epoch. */
export function windowStart(per: Period, now: number): number {
  const date = new Date(now);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  if (per === "month") return Date.UTC(year, month);
  return Date.UTC(year, month, date.getUTCDate(), per === "hour" ? date.getUTCHours() : 0);
}

/** @returns the moment at which the window that contains `now` ends, ms since the epoch. */
export function windowEnd(per: Period, now: number): number {
  const start = windowStart(per, now);
  if (per === "hour") return start + 3_600_000;
  if (per === "day") return start + 86_400_000;
  const date = new Date(start);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1);
}

/** ms of the shortest window of its kind. */
export const SHORTEST_WINDOW_MS: Readonly<Record<Period, number>> = {
  hour: 3_600_000,
  day: 86_400_000,
  month: 28 * 86_400_000,
};
