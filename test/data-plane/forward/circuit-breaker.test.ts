import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type BreakerSettings, CircuitBreaker, NO_PASS } from "../../../src/data-plane/forward/circuit-breaker.ts";
import type { BreakerState } from "../../../src/registry/breaker-state.ts";

const SETTINGS: BreakerSettings = { failureRatio: 0.5, minRequests: 4, windowMs: 1_000, openMs: 2_500 };

/** How long the one attempt keeps its place. */
const PLACE_MS = 30_000;

function make(settings: Partial<BreakerSettings> = {}) {
  const clock = { now: 5 };
  const changes: BreakerState[] = [];
  const breaker = new CircuitBreaker(
    { ...SETTINGS, ...settings },
    () => clock.now,
    (state) => changes.push(state),
  );
  const attempt = (outcome: "succeeded" | "failed" | "abandoned", times = 1) => {
    for (let i = 0; i < times; i++) breaker[outcome](breaker.enter(PLACE_MS));
  };
  return { breaker, clock, changes, attempt, states: () => changes.map(({ state }) => state) };
}

/** Open since the clock stood at 5. */
function makeOpen() {
  const made = make();
  made.attempt("failed", 4);
  return made;
}

describe("a closed breaker", () => {
  test("opens at the failure with which the ratio and the least number are reached, and not before", () => {
    const { breaker, attempt, changes } = make();
    attempt("failed", 3);
    expect(breaker.admits).toBe(true);
    attempt("failed");
    expect(breaker.admits).toBe(false);
    expect(changes).toEqual([{ state: "open", failures: 4, requests: 4, retryAfter: 3 }]);
  });

  test.each([
    [0.5, 10, 10, true],
    [0.5, 11, 10, false],
    [1, 0, 10, true],
    [1, 1, 10, false],
    [0.1, 89, 10, true],
    [0.1, 91, 10, false],
  ])("with a ratio of %f, after %i successes and %i failures, is open: %s", (failureRatio, good, bad, isOpen) => {
    const { breaker, attempt } = make({ failureRatio, minRequests: 10 });
    attempt("succeeded", good);
    attempt("failed", bad);
    expect(!breaker.admits).toBe(isOpen);
  });

  test("forgets what is older than its window, also after a long silence", () => {
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

  test("counts no attempt that nobody waited for", () => {
    const { breaker, attempt } = make();
    attempt("abandoned", 100);
    expect(breaker.describe()).toMatchObject({ failures: 0, requests: 0 });
  });
});

describe("an open breaker", () => {
  test("lets nothing through for openMs, and says how long that is in whole seconds, rounded up", () => {
    const { breaker, clock } = makeOpen();
    expect(breaker.describe()).toMatchObject({ state: "open", retryAfter: 3 });
    for (const [later, retryAfter] of [
      [500, 2],
      [1_999, 1],
      [0.9, 1],
    ] as const) {
      clock.now += later;
      expect([breaker.admits, breaker.enter(PLACE_MS), breaker.describe().retryAfter]).toEqual([
        false,
        NO_PASS,
        retryAfter,
      ]);
    }
    clock.now += 0.1;
    expect([breaker.admits, breaker.describe().state]).toEqual([true, "half-open"]);
  });

  test("is not moved by attempts that began before it opened", () => {
    const { breaker, attempt, changes, clock } = make();
    const old = [1, 2, 3].map(() => breaker.enter(PLACE_MS));
    attempt("failed", 4);
    breaker.succeeded(old[0] as number);
    breaker.failed(old[1] as number);
    expect(changes).toHaveLength(1);
    clock.now += 2_500;
    const probe = breaker.enter(PLACE_MS);
    breaker.failed(old[2] as number);
    expect(breaker.describe().state).toBe("half-open");
    breaker.succeeded(probe);
    breaker.failed(old[1] as number);
    expect(breaker.describe()).toEqual({ state: "closed", failures: 0, requests: 0, retryAfter: null });
  });
});

describe("a half-open breaker", () => {
  const makeHalfOpen = () => {
    const made = makeOpen();
    made.clock.now += 2_500;
    return made;
  };

  test("lets exactly one through, and refuses everybody else until that one is back", () => {
    const { breaker } = makeHalfOpen();
    const passes = Array.from({ length: 50 }, () => breaker.enter(PLACE_MS));
    expect(passes.filter((pass) => pass !== NO_PASS)).toHaveLength(1);
    expect(breaker.admits).toBe(false);
  });

  test("closes with an empty window when the one succeeds", () => {
    const { breaker, attempt, states } = makeHalfOpen();
    attempt("succeeded");
    expect(breaker.describe()).toEqual({ state: "closed", failures: 0, requests: 0, retryAfter: null });
    attempt("failed", 3);
    expect(breaker.admits).toBe(true);
    expect(states()).toEqual(["open", "half-open", "closed"]);
  });

  test("opens for openMs again when the one fails", () => {
    const { breaker, attempt, clock, states } = makeHalfOpen();
    attempt("failed");
    expect(breaker.describe()).toEqual({ state: "open", failures: 5, requests: 5, retryAfter: 3 });
    clock.now += 2_499;
    expect(breaker.admits).toBe(false);
    clock.now += 1;
    expect(breaker.admits).toBe(true);
    expect(states()).toEqual(["open", "half-open", "open"]);
  });

  test("gives the place to the next one when whoever had it leaves, and says nothing of it", () => {
    const { breaker, attempt, states } = makeHalfOpen();
    const left = breaker.enter(PLACE_MS);
    breaker.abandoned(left);
    const next = breaker.enter(PLACE_MS);
    expect(next).not.toBe(NO_PASS);
    breaker.failed(left);
    expect(breaker.enter(PLACE_MS)).toBe(NO_PASS);
    breaker.succeeded(next);
    attempt("succeeded");
    expect(states()).toEqual(["open", "half-open", "closed"]);
  });

  test("gives the place to the next one when whoever has it keeps it for too long, whose word then counts no more", () => {
    const { breaker, clock } = makeHalfOpen();
    const slow = breaker.enter(PLACE_MS);
    clock.now += PLACE_MS - 1;
    expect(breaker.enter(PLACE_MS)).toBe(NO_PASS);
    clock.now += 1;
    const next = breaker.enter(PLACE_MS);
    breaker.succeeded(slow);
    expect(breaker.describe().state).toBe("half-open");
    breaker.succeeded(next);
    expect(breaker.describe().state).toBe("closed");
  });
});

test("whatever happens, the counts are those of a list of everything, and one at most is under way while it is not closed", () => {
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
          const entered = breaker.enter(1e9);
          if (entered !== NO_PASS) under.push(entered);
          expect(entered !== NO_PASS || !wasClosed).toBe(true);
        } else if (pass !== undefined) {
          under = under.filter((_, i) => i !== which % under.length);
          breaker[what](pass);
          if (wasClosed && what !== "abandoned") {
            counted.push({ tenth: Math.floor(clock.now / 100), failed: what === "failed" });
          }
        }
        if (changes.length > seen) {
          // What was under way before belongs to another state.
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
