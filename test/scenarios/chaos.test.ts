/** `npm run chaos`, shortened to the most frequent faults. */
import { expect, test } from "vitest";
import { faults, runChaos } from "../../bench/chaos/chaos.ts";
import { builtMain } from "../support/built.ts";

const DAILY = ["killed", "garbage", "cut-in-length", "cut-in-chunks", "closing"];

test("Upstreams that crash, send garbage or cut responses affect only their own callers, who get an error, and leak no resource", async () => {
  const chosen = faults.filter(({ name }) => DAILY.includes(name));
  const times = { warmUpMs: 300, faultMs: 250, soakMs: 0 };
  const chaos = await runChaos({ main: builtMain, faults: chosen, perSecond: 100, ...times });
  expect(chaos.failures).toEqual([]);
  expect(chaos.results.map(({ fault }) => fault.name).sort()).toEqual([...DAILY].sort());
  for (const { neighbour, affected } of chaos.results) {
    expect(neighbour.count("served")).toBeGreaterThan(0);
    expect(affected.total).toBeGreaterThan(0);
  }
}, 60_000);
