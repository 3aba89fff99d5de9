/** Alarms are handed from one exchange to the next without being set anew, and nobody is told late, or for somebody else. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Alarms } from "../../../src/data-plane/forward/alarms.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** Remembers when it was told. */
function createOwner() {
  const told: number[] = [];
  return { told, onAlarm: () => void told.push(performance.now()) };
}

test("an alarm that was left set goes off for whoever has it then, and for nobody before", async () => {
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
  expect([first.told, second.told]).toEqual([[], [start + 100]]);
});

test("an alarm that is needed sooner is set for then", async () => {
  const alarms = new Alarms();
  const owner = createOwner();
  const start = performance.now();
  const alarm = alarms.take(owner);
  alarm.setFor(start + 1_000, start);
  alarm.setFor(start + 10, start);
  await vi.advanceTimersByTimeAsync(10);
  expect([owner.told, vi.getTimerCount()]).toEqual([[start + 10], 0]);
});

test("an alarm that goes off while nobody has it tells nobody, and can be used again", async () => {
  const alarms = new Alarms();
  const [first, second] = [createOwner(), createOwner()];
  const alarm = alarms.take(first);
  alarm.setFor(performance.now() + 10, performance.now());
  alarms.leave(alarm);
  await vi.advanceTimersByTimeAsync(20);
  const now = performance.now();
  alarms.take(second).setFor(now + 10, now);
  await vi.advanceTimersByTimeAsync(10);
  expect([first.told, second.told]).toEqual([[], [now + 10]]);
});

test("of alarms that nobody uses a bounded number stays set", () => {
  const alarms = new Alarms();
  const taken = Array.from({ length: 5_000 }, () => alarms.take(createOwner()));
  for (const alarm of taken) alarm.setFor(performance.now() + 30_000, performance.now());
  expect(vi.getTimerCount()).toBe(5_000);
  for (const alarm of taken) alarms.leave(alarm);
  expect(vi.getTimerCount()).toBe(1_024);
});
