/** A shorter run of each scenario of `npm run sim`. */
import { expect, test } from "vitest";
import { judge, scenarios } from "../../../bench/sim/goal.ts";

const MINUTE_MS = 60_000;
const DURATIONS_MS = [12 * MINUTE_MS, MINUTE_MS, 5 * MINUTE_MS, 5 * MINUTE_MS];

test.each(scenarios.map((scenario, index) => [scenario.name, scenario, DURATIONS_MS[index]] as const))(
  "Hold mode avoids refusals, uses what is allowed, and is fair: %s",
  async (_, scenario, durationMs) => {
    const { missed, hold, off } = await judge(scenario, durationMs);
    expect(missed).toEqual([]);
    expect(hold.refusals).toBe(0);
    expect(off.refusals).toBeGreaterThan(100);
  },
);
