/** Those who go before somebody: how many, and what they cost together. */
import type { Costs } from "./gates.ts";

export interface Ahead {
  count: number;
  readonly costs: number[];
}

export function aheadOf(before: Iterable<{ readonly costs: Costs }>): Ahead {
  const ahead: Ahead = { count: 0, costs: [] };
  for (const { costs } of before) goAhead(ahead, costs);
  return ahead;
}

/** One more. */
export function goAhead(ahead: Ahead, costs: Costs): void {
  ahead.count++;
  costs.forEach((cost, index) => {
    ahead.costs[index] = (ahead.costs[index] ?? 0) + cost;
  });
}
