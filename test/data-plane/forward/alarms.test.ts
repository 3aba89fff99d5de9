/** An alarm is reused by the next exchange without a new timer; no owner is called late, or for another owner's deadline. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Alarms } from "../../../src/data-plane/forward/alarms.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Records when its alarm fired. */
function createOwner() {
  const firedAt: number[] = [];
  return { firedAt, onAlarm: () => void firedAt.push(performance.now()) };
}

test("An alarm that was released while set fires for its next owner, and not for the previous one", async () => {
  const alarms = new Alarms();
  const [first, second] = [createOwner(), createOwner()];
  const start = performance.now();
  const alarm = alarms.take(first);
  alarm.setFor(start + 100, start);
  alarms.leave(alarm);
  await vi.advanceTimersByTimeAsync(50);
  const again = alarms.take(second);
  again.setFor(performance.now() + 100, performance.now());
  expect([again === alarm, vi.getTimerCount()]).toEqual([true, 1]);
  await vi.advanceTimersByTimeAsync(50);
  expect([first.firedAt, second.firedAt]).toEqual([[], [start + 100]]);
});

test("An alarm can be set to an earlier time", async () => {
  const alarms = new Alarms();
  const owner = createOwner();
  const start = performance.now();
  const alarm = alarms.take(owner);
  alarm.setFor(start + 1_000, start);
  alarm.setFor(start + 10, start);
  await vi.advanceTimersByTimeAsync(10);
  expect([owner.firedAt, vi.getTimerCount()]).toEqual([[start + 10], 0]);
});

test("An alarm that fires without an owner calls no owner, and can be reused", async () => {
  const alarms = new Alarms();
  const [first, second] = [createOwner(), createOwner()];
  const alarm = alarms.take(first);
  alarm.setFor(performance.now() + 10, performance.now());
  alarms.leave(alarm);
  await vi.advanceTimersByTimeAsync(20);
  const now = performance.now();
  alarms.take(second).setFor(now + 10, now);
  await vi.advanceTimersByTimeAsync(10);
  expect([first.firedAt, second.firedAt]).toEqual([[], [now + 10]]);
});

test("A bounded number of unused alarms stays set", () => {
  const alarms = new Alarms();
  const taken = Array.from({ length: 5_000 }, () => alarms.take(createOwner()));
  for (const alarm of taken) alarm.setFor(performance.now() + 30_000, performance.now());
  expect(vi.getTimerCount()).toBe(5_000);
  for (const alarm of taken) alarms.leave(alarm);
  expect(vi.getTimerCount()).toBe(1_024);
});
