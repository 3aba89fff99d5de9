import { expect, test } from "vitest";
import { createSystemClock } from "../../../src/data-plane/cache/system-clock.ts";

test("Ages have the time in which the machine slept, and a wall clock that is set back changes none", () => {
  const sources = { monotonic: 5_000, wall: 1_000_000 };
  const clock = createSystemClock({ now: () => sources.monotonic, wallNow: () => sources.wall });
  const pass = (monotonicMs: number, wallMs: number) => {
    sources.monotonic += monotonicMs;
    sources.wall += wallMs;
    return clock.now();
  };
  expect(pass(1_000, 1_000)).toBe(6_000);
  expect(pass(1_000, 3_601_000)).toBe(3_607_000);
  expect(pass(1_000, 1_000)).toBe(3_608_000);
  expect(pass(1_000, -7_200_000)).toBe(3_609_000);
  expect(pass(1_000, 1_400)).toBe(3_610_000);
});
