/** The one timer of an exchange, on a clock of the test's own. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Deadline, type Expiry } from "../../../src/data-plane/forward/deadline.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function start(timeoutMs: number, idleTimeoutMs: number, isWaitingForClient = () => false) {
  const startedAt = performance.now();
  const expiries: [Expiry, number][] = [];
  const deadline: Deadline = new Deadline({ timeoutMs, idleTimeoutMs }, startedAt, (expiry) => {
    if (expiry === "headers" && isWaitingForClient() && deadline.waitForClient()) return;
    expiries.push([expiry, performance.now() - startedAt]);
  });
  return { deadline, expiries };
}

test("A deadline expires once, when the time to the headers is over", async () => {
  const { expiries } = start(100, 1_000);
  await vi.advanceTimersByTimeAsync(99);
  expect(expiries).toEqual([]);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(expiries).toEqual([["headers", 100]]);
});

test("Each chunk restarts the clock without a new timer", async () => {
  const { deadline, expiries } = start(100, 1_000);
  for (let chunk = 0; chunk < 5; chunk++) {
    await vi.advanceTimersByTimeAsync(60);
    deadline.touch();
    expect(vi.getTimerCount()).toBe(1);
  }
  await vi.advanceTimersByTimeAsync(100);
  expect(expiries).toEqual([["headers", 400]]);
});

test("A wait that the upstream did not cause is added to its time", async () => {
  const { deadline, expiries } = start(100, 1_000);
  deadline.extend(50);
  expect(deadline.remainingMs).toBe(150);
  await vi.advanceTimersByTimeAsync(200);
  expect(expiries).toEqual([["headers", 150]]);
});

test("A body with a shorter limit than the headers expires in its own time", async () => {
  const { deadline, expiries } = start(1_000, 10);
  deadline.enterBody(performance.now(), 10);
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(20);
  expect(expiries).toEqual([["body-idle", 10]]);
});

test("A body without a limit never expires", async () => {
  const { deadline, expiries } = start(100, 0);
  deadline.enterBody(performance.now(), 0);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(expiries).toEqual([]);
});

test("A client that pauses inside its upload gets the idle time, and the upstream its own again after the next chunk", async () => {
  let isWaiting = true;
  const { deadline, expiries } = start(100, 500, () => isWaiting);
  await vi.advanceTimersByTimeAsync(400);
  deadline.touch();
  isWaiting = false;
  await vi.advanceTimersByTimeAsync(200);
  expect(expiries).toEqual([["headers", 500]]);
});

test("A client that never continues its upload is timed out as idle", async () => {
  const { expiries } = start(100, 500, () => true);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(expiries).toEqual([["client-idle", 500]]);
});

test("A stopped deadline leaves no timer and never expires, even if it is touched afterwards", async () => {
  const { deadline, expiries } = start(100, 500);
  deadline.stop();
  deadline.touch();
  deadline.enterBody(performance.now(), 10);
  expect(vi.getTimerCount()).toBe(0);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(expiries).toEqual([]);
});

test("A client that pauses gets no further time if its idle time is no longer than the time to the headers", async () => {
  const { deadline, expiries } = start(100, 50);
  await vi.advanceTimersByTimeAsync(99);
  expect(expiries).toEqual([]);
  expect(deadline.waitForClient()).toBe(false);
});
