import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BreakerState } from "../../../src/data-plane/forward/breaker.ts";
import { type BreakerSettings, CircuitBreaker, NO_PASS } from "../../../src/data-plane/forward/breaker.ts";

const SETTINGS: BreakerSettings = { failureRatio: 0.5, minRequests: 4, windowMs: 1_000, openMs: 2_500 };

/** How long a trial holds its slot. */
const TRIAL_SLOT_MS = 30_000;

function make(settings: Partial<BreakerSettings> = {}) {
  const clock = { now: 5 };
  const changes: BreakerState[] = [];
  const breaker = new CircuitBreaker(
    { ...SETTINGS, ...settings },
    (state) => changes.push(state),
    () => clock.now,
  );
  const attempt = (outcome: "succeeded" | "failed" | "abandoned", times = 1) => {
    for (let i = 0; i < times; i++) breaker[outcome](breaker.enter(TRIAL_SLOT_MS, ""), "", true);
  };
  return { breaker, clock, changes, attempt, states: () => changes.map(({ state }) => state) };
}

/** Returns a breaker that opened at time 5. */
function makeOpen() {
  const made = make();
  made.attempt("failed", 4);
  return made;
}

describe("closed breaker", () => {
  test("A breaker opens at the failure that reaches both the ratio and the minimum of requests, and not before", () => {
    const { breaker, attempt, changes } = make();
    attempt("failed", 3);
    expect(breaker.admits("")).toBe(true);
    attempt("failed");
    expect(breaker.admits("")).toBe(false);
    expect(changes).toEqual([{ state: "open", failures: 4, requests: 4, retryAfter: 3 }]);
  });

  test.each([
    [0.5, 10, 10, true],
    [0.5, 11, 10, false],
    [1, 0, 10, true],
    [1, 1, 10, false],
    [0.1, 89, 10, true],
    [0.1, 91, 10, false],
  ])(
    "With a ratio of %f, after %i successes and %i failures, the breaker is open: %s",
    (failureRatio, good, bad, isOpen) => {
      const { breaker, attempt } = make({ failureRatio, minRequests: 10 });
      attempt("succeeded", good);
      attempt("failed", bad);
      expect(!breaker.admits("")).toBe(isOpen);
    },
  );

  test("A breaker forgets attempts that are older than its window, also after a long silence", () => {
    const { breaker, attempt, clock } = make();
    attempt("failed", 3);
    clock.now += 900;
    expect(breaker.describe()).toMatchObject({ failures: 3, requests: 3 });
    clock.now += 100;
    expect(breaker.describe()).toMatchObject({ failures: 0, requests: 0 });
    attempt("failed", 3);
    clock.now += 3_600_000;
    attempt("failed");
    expect(breaker.describe()).toEqual({ state: "closed", failures: 1, requests: 1, retryAfter: null });
  });

  test("A breaker does not count an abandoned attempt", () => {
    const { breaker, attempt } = make();
    attempt("abandoned", 100);
    expect(breaker.describe()).toMatchObject({ failures: 0, requests: 0 });
  });
});

describe("open breaker", () => {
  test("An open breaker admits nothing for openMs, and reports the remaining time in whole seconds, rounded up", () => {
    const { breaker, clock } = makeOpen();
    expect(breaker.describe()).toMatchObject({ state: "open", retryAfter: 3 });
    for (const [later, retryAfter] of [
      [500, 2],
      [1_999, 1],
      [0.9, 1],
    ] as const) {
      clock.now += later;
      expect([breaker.admits(""), breaker.enter(TRIAL_SLOT_MS, ""), breaker.describe().retryAfter]).toEqual([
        false,
        NO_PASS,
        retryAfter,
      ]);
    }
    clock.now += 0.1;
    expect([breaker.admits(""), breaker.describe().state]).toEqual([true, "half-open"]);
  });

  test("Attempts that began before a breaker opened do not change its state", () => {
    const { breaker, attempt, changes, clock } = make();
    const old = [1, 2, 3].map(() => breaker.enter(TRIAL_SLOT_MS, ""));
    attempt("failed", 4);
    breaker.succeeded(old[0] as number, "");
    breaker.failed(old[1] as number, "", true);
    expect(changes).toHaveLength(1);
    clock.now += 2_500;
    const probe = breaker.enter(TRIAL_SLOT_MS, "");
    breaker.failed(old[2] as number, "", true);
    expect(breaker.describe().state).toBe("half-open");
    breaker.succeeded(probe, "");
    breaker.failed(old[1] as number, "", true);
    expect(breaker.describe()).toEqual({ state: "closed", failures: 0, requests: 0, retryAfter: null });
  });
});

describe("half-open breaker", () => {
  const makeHalfOpen = () => {
    const made = makeOpen();
    made.clock.now += 2_500;
    return made;
  };

  test("A half-open breaker admits exactly one attempt, and refuses all others until it ends", () => {
    const { breaker } = makeHalfOpen();
    const passes = Array.from({ length: 50 }, () => breaker.enter(TRIAL_SLOT_MS, ""));
    expect(passes.filter((pass) => pass !== NO_PASS)).toHaveLength(1);
    expect(breaker.admits("")).toBe(false);
  });

  test("A half-open breaker closes with an empty window when its trial succeeds", () => {
    const { breaker, attempt, states } = makeHalfOpen();
    attempt("succeeded");
    expect(breaker.describe()).toEqual({ state: "closed", failures: 0, requests: 0, retryAfter: null });
    attempt("failed", 3);
    expect(breaker.admits("")).toBe(true);
    expect(states()).toEqual(["open", "half-open", "closed"]);
  });

  test("A half-open breaker opens for openMs again when its trial fails", () => {
    const { breaker, attempt, clock, states } = makeHalfOpen();
    attempt("failed");
    expect(breaker.describe()).toEqual({ state: "open", failures: 5, requests: 5, retryAfter: 3 });
    clock.now += 2_499;
    expect(breaker.admits("")).toBe(false);
    clock.now += 1;
    expect(breaker.admits("")).toBe(true);
    expect(states()).toEqual(["open", "half-open", "open"]);
  });

  test("An abandoned trial lets the next attempt become the trial, without a change of state", () => {
    const { breaker, attempt, states } = makeHalfOpen();
    const left = breaker.enter(TRIAL_SLOT_MS, "");
    breaker.abandoned(left);
    const next = breaker.enter(TRIAL_SLOT_MS, "");
    expect(next).not.toBe(NO_PASS);
    breaker.failed(left, "", true);
    expect(breaker.enter(TRIAL_SLOT_MS, "")).toBe(NO_PASS);
    breaker.succeeded(next, "");
    attempt("succeeded");
    expect(states()).toEqual(["open", "half-open", "closed"]);
  });

  test("A trial that takes too long lets the next attempt become the trial, and its own result no longer counts", () => {
    const { breaker, clock } = makeHalfOpen();
    const slow = breaker.enter(TRIAL_SLOT_MS, "");
    clock.now += TRIAL_SLOT_MS - 1;
    expect(breaker.enter(TRIAL_SLOT_MS, "")).toBe(NO_PASS);
    clock.now += 1;
    const next = breaker.enter(TRIAL_SLOT_MS, "");
    breaker.succeeded(slow, "");
    expect(breaker.describe().state).toBe("half-open");
    breaker.succeeded(next, "");
    expect(breaker.describe().state).toBe("closed");
  });
});

test("For every sequence of events the counts match a list of all attempts, and at most one attempt runs while the breaker is not closed", () => {
  const step = fc.record({
    what: fc.constantFrom("enter", "enter", "succeeded", "failed", "failed", "abandoned", "wait"),
    which: fc.nat(5),
    ms: fc.nat(700),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const { breaker, clock, changes } = make();
      let under: number[] = [];
      let counted: { tenth: number; failed: boolean }[] = [];
      let seen = 0;
      for (const { what, which, ms } of steps) {
        const wasClosed = breaker.describe().state === "closed";
        const pass = under[which % Math.max(1, under.length)];
        if (what === "wait") clock.now += ms;
        else if (what === "enter") {
          const entered = breaker.enter(1e9, "");
          if (entered !== NO_PASS) under.push(entered);
          expect(entered !== NO_PASS || !wasClosed).toBe(true);
        } else if (pass !== undefined) {
          under = under.filter((_, i) => i !== which % under.length);
          breaker[what](pass, "", true);
          if (wasClosed && what !== "abandoned") {
            counted.push({ tenth: Math.floor(clock.now / 100), failed: what === "failed" });
          }
        }
        if (changes.length > seen) {
          // Attempts that began earlier belong to another state.
          seen = changes.length;
          if (changes.at(-1)?.state !== "half-open") under = [];
          else under = under.slice(-1);
          counted = [];
        }
        const { state, failures, requests } = breaker.describe();
        if (state !== "closed") expect(under.length).toBeLessThanOrEqual(1);
        else {
          const inWindow = counted.filter(({ tenth }) => tenth > Math.floor(clock.now / 100) - 10);
          expect([requests, failures]).toEqual([inWindow.length, inWindow.filter(({ failed }) => failed).length]);
          expect(requests < 4 || failures < 0.5 * requests || inWindow.at(-1)?.failed === false).toBe(true);
        }
      }
    }),
  );
});
