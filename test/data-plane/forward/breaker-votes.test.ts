import { describe, expect, test } from "vitest";
import { CircuitBreaker, NO_PASS } from "../../../src/data-plane/forward/breaker.ts";
import { BreakerVotes } from "../../../src/data-plane/forward/breaker-votes.ts";

function make() {
  const clock = { now: 5 };
  const settings = { failureRatio: 0.5, minRequests: 4, windowMs: 1_000, openMs: 2_500 };
  const breaker = new CircuitBreaker(
    settings,
    () => {},
    () => clock.now,
  );
  const fail = (voter: string, times = 1, wasConnected = true) => {
    for (let i = 0; i < times; i++) breaker.failed(breaker.enter(1_000, voter), voter, wasConnected);
  };
  const succeed = (voter: string, times = 1) => {
    for (let i = 0; i < times; i++) breaker.succeeded(breaker.enter(1_000, voter), voter);
  };
  return { breaker, clock, fail, succeed, state: () => breaker.describe().state };
}

describe("breaker with several callers", () => {
  test("It stays closed while one of two callers succeeds, however often the other one fails", () => {
    const { fail, succeed, state, clock } = make();
    for (let i = 0; i < 50; i++) {
      succeed("bob");
      fail("mallory", 20);
      clock.now += 900;
    }
    expect(state()).toBe("closed");
  });

  test("It opens once more than the ratio of the callers fail", () => {
    const { fail, succeed, state } = make();
    succeed("a");
    fail("b", 10);
    expect(state()).toBe("closed");
    fail("c");
    expect(state()).toBe("open");
  });

  test("It opens for connections that fail, for any caller", () => {
    const { fail, succeed, state } = make();
    succeed("bob");
    fail("mallory", 4, false);
    expect(state()).toBe("open");
  });

  test("A caller that succeeded longer ago than the window no longer keeps it closed", () => {
    const { fail, succeed, state, clock } = make();
    succeed("bob");
    clock.now += 1_001;
    fail("mallory", 4);
    expect(state()).toBe("open");
  });

  test("Opened by one caller, it lets one attempt of another caller through at once, and only one in each period", () => {
    const { breaker, fail, state, clock } = make();
    fail("mallory", 4);
    expect([breaker.admits("mallory"), breaker.admits("bob")]).toEqual([false, true]);
    fail("bob");
    expect([breaker.admits("mallory"), breaker.admits("bob"), breaker.admits("carol")]).toEqual([false, false, false]);
    clock.now += 2_500;
    expect(breaker.admits("mallory")).toBe(true);
    const slow = breaker.enter(1_000, "mallory");
    const quick = breaker.enter(1_000, "bob");
    expect(quick).not.toBe(NO_PASS);
    breaker.succeeded(quick, "bob");
    breaker.failed(slow, "mallory", true);
    expect(state()).toBe("closed");
  });

  test("Opened by several callers, it lets no request through before its time", () => {
    const { breaker, fail } = make();
    fail("a", 2);
    fail("b", 2);
    expect(["a", "b", "c"].map((voter) => breaker.admits(voter))).toEqual([false, false, false]);
  });
});

test("The latest attempt of a caller is its vote, and counts until its window ends", () => {
  const votes = new BreakerVotes(1_000);
  votes.cast("a", false, 0);
  votes.cast("b", true, 0);
  expect([votes.isMajority(0.5, 1), votes.onlyFailing(1)]).toEqual([false, "b"]);
  votes.cast("a", true, 2);
  expect([votes.isMajority(0.5, 3), votes.onlyFailing(3)]).toEqual([true, undefined]);
  // The vote of b ends at 1000, so that only a is left.
  expect([votes.onlyFailing(999), votes.onlyFailing(1_000)]).toEqual([undefined, "a"]);
  votes.cast("b", false, 1_000);
  expect([votes.isMajority(0.5, 1_001), votes.isMajority(0.5, 1_999)]).toEqual([false, false]);
  expect([votes.isMajority(0.5, 2_000), votes.onlyFailing(2_000)]).toEqual([true, undefined]);
});

test("A new vote removes those whose window is over before any other", () => {
  const votes = new BreakerVotes(1_000);
  for (let i = 0; i < 1_000; i++) votes.cast(`caller ${i}`, i === 0, i === 0 ? 500 : 0);
  votes.cast("new", false, 1_000);
  expect([votes.size, votes.onlyFailing(1_000)]).toEqual([2, "caller 0"]);
});

test("The number of votes is bounded", () => {
  const votes = new BreakerVotes(1_000);
  for (let i = 0; i < 5_000; i++) votes.cast(`caller ${i}`, false, i / 10);
  votes.cast("mallory", true, 500);
  expect(votes.isMajority(0.5, 500)).toBe(false);
  expect(votes.size).toBeLessThanOrEqual(1_000);
});
