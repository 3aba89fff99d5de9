/** A shorter look at each scenario of `npm run sim`, so that its goal cannot rot. */
import { expect, test } from "vitest";
import { judge, scenarios } from "../../../bench/sim/goal.ts";

const MINUTE_MS = 60_000;
const DURATIONS_MS = [12 * MINUTE_MS, MINUTE_MS, 5 * MINUTE_MS, 5 * MINUTE_MS];

test.each(scenarios.map((scenario, index) => [scenario.name, scenario, DURATIONS_MS[index]] as const))(
  "holds back what would be refused, uses what is allowed, and is fair: %s",
  async (_, scenario, durationMs) => {
    const { missed, hold, off } = await judge(scenario, durationMs);
    expect(missed).toEqual([]);
    expect(hold.refusals).toBe(0);
    expect(off.refusals).toBeGreaterThan(100);
  },
);
