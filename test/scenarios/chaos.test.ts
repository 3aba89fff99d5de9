/** `npm run chaos`, shortened: its machinery, and the faults that a gateway meets every day. */
import { expect, test } from "vitest";
import { faults, runChaos } from "../../bench/chaos/chaos.ts";
import { builtMain } from "../support/built.ts";

const DAILY = ["killed", "garbage", "cut-in-length", "cut-in-chunks", "closing"];

test("upstreams that die, lie and break off hurt nobody but their own callers, who are told, and leave nothing behind", async () => {
  const chosen = faults.filter(({ name }) => DAILY.includes(name));
  const times = { warmUpMs: 300, faultMs: 250, soakMs: 0 };
  const chaos = await runChaos({ main: builtMain, faults: chosen, perSecond: 100, ...times });
  expect(chaos.failures).toEqual([]);
  expect(chaos.struck.map(({ fault }) => fault.name).sort()).toEqual([...DAILY].sort());
  for (const { neighbour, hurt } of chaos.struck) {
    expect(neighbour.count("served")).toBeGreaterThan(0);
    expect(hurt.total).toBeGreaterThan(0);
  }
}, 60_000);
