/** The clocks of the quota. */
import { expect, test } from "vitest";
import { createSteadyClock } from "../../../src/data-plane/quota/clocks.ts";

test("The steady clock continues when the wall clock is set back, follows it forward, and never runs backwards", () => {
  let wall = 1_000_000;
  let monotonic = 5;
  const now = createSteadyClock(
    () => wall,
    () => monotonic,
  );
  expect(now()).toBe(1_000_000);
  const pass = (ms: number) => {
    wall += ms;
    monotonic += ms;
  };
  pass(100);
  expect(now()).toBe(1_000_100);
  wall -= 3_600_000;
  pass(100);
  expect(now()).toBe(1_000_200);
  wall += 3_600_000;
  pass(100);
  expect(now()).toBe(1_000_300);
  // The machine slept, or its clock was set.
  wall += 3_600_000;
  expect(now()).toBe(4_600_300);
  wall -= 3_600_000;
  expect(now()).toBe(4_600_300);
});
