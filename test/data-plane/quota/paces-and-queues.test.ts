/** The parts that hold requests back: fair queue, pace, budget of refusals. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Pace, RefusalBudget } from "../../../src/data-plane/quota/paces.ts";
import { FairQueue } from "../../../src/fair-queue.ts";

describe("Fair queue", () => {
  const queueOf = (...items: string[]) => {
    const queue = new FairQueue<string>();
    for (const item of items) queue.push(item[0] as string, item);
    return queue;
  };
  const drain = (queue: FairQueue<string>) => {
    const order: string[] = [];
    for (let next = queue.peek(); next !== undefined; next = queue.peek()) {
      order.push(next);
      queue.shift(next[0] as string, next);
    }
    return order;
  };

  test("Callers alternate, and the requests of one caller keep their order", () => {
    const queue = queueOf("a1", "a2", "a3", "b1", "c1", "b2");
    expect([...queue.inOrder()]).toEqual(["a1", "b1", "c1", "a2", "b2", "a3"]);
    expect(drain(queue)).toEqual(["a1", "b1", "c1", "a2", "b2", "a3"]);
  });

  test("A caller keeps its position when one of its requests is removed", () => {
    const queue = queueOf("a1", "a2", "b1");
    expect(queue.remove("a", "a1")).toBe(true);
    expect(queue.remove("a", "a1")).toBe(false);
    expect([queue.size, drain(queue)]).toEqual([2, ["a2", "b1"]]);
  });

  test("The queue lists the requests ahead of a caller's next one", () => {
    const queue = queueOf("a1", "a2", "a3", "b1");
    expect([...queue.before("b")].sort()).toEqual(["a1", "a2", "b1"]);
    expect([...queue.before("new")].sort()).toEqual(["a1", "b1"]);
    expect([...queue.before("a")].sort()).toEqual(["a1", "a2", "a3", "b1"]);
  });

  test("The next request of a caller that may go is the first of the first such caller", () => {
    const queue = queueOf("a1", "b1", "b2", "c1");
    expect(queue.peekOf(() => true)).toBe("a1");
    expect(queue.peekOf((caller) => caller !== "a")).toBe("b1");
    expect(queue.peekOf(() => false)).toBeUndefined();
  });

  test("A caller displaces the last request of the caller with the most, and none if it has as many itself", () => {
    const queue = queueOf("a1", "a2", "b1", "b2", "b3", "c1", "c2", "c3");
    expect(queue.lastOfMost("a")).toBe("b3");
    expect(queue.lastOfMost("new")).toBe("b3");
    expect([queue.lastOfMost("b"), queue.lastOfMost("c")]).toEqual([undefined, undefined]);
    expect(queueOf().lastOfMost("a")).toBeUndefined();
  });

  test("Requests are served in the order that the queue lists, however they come and leave", () => {
    const step = fc.record({
      caller: fc.constantFrom("a", "b", "c", "d"),
      doing: fc.constantFrom("push", "push", "shift", "leave"),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new FairQueue<string>();
        const here = new Set<string>();
        steps.forEach(({ caller, doing }, i) => {
          const some = [...here].find((item) => item.startsWith(caller));
          if (doing === "push") {
            queue.push(caller, `${caller}${i}`);
            here.add(`${caller}${i}`);
          } else if (doing === "leave" && some !== undefined) {
            queue.remove(caller, some);
            here.delete(some);
          } else if (doing === "shift") {
            const next = queue.peek();
            if (next === undefined) return;
            queue.shift(next[0] as string, next);
            here.delete(next);
          }
        });
        const listed = [...queue.inOrder()];
        expect(queue.size).toBe(here.size);
        expect(new Set(listed)).toEqual(here);
        expect(drain(queue)).toEqual(listed);
      }),
      { numRuns: 100 },
    );
  });
});

describe("Pace", () => {
  test("No window exceeds its points, and no request is later than necessary", () => {
    const request = fc.record({
      cost: fc.integer({ min: 0, max: 7 }),
      afterMs: fc.integer({ min: 0, max: 400 }),
      isUnused: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(request, { maxLength: 80 }), fc.integer({ min: 7, max: 20 }), (requests, points) => {
        const pace = new Pace({ name: "p", points, windowMs: 1_000, costOf: () => 1 });
        const sent: { at: number; cost: number }[] = [];
        const inWindow = (from: number) =>
          sent.reduce((sum, { at, cost }) => sum + (at > from && at <= from + 1_000 ? cost : 0), 0);
        let now = 0;
        for (const { cost, afterMs, isUnused } of requests) {
          now += afterMs;
          const at = pace.freeAt(cost, now);
          if (at > now) expect(inWindow(at - 1 - 1_000) + cost).toBeGreaterThan(points);
          now = at;
          pace.spend(cost, now);
          if (isUnused) pace.refund(cost, now);
          else sent.push({ at: now, cost });
          expect(inWindow(now - 1_000)).toBeLessThanOrEqual(points);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("A refund removes exactly the request that was not sent", () => {
    const pace = new Pace({ name: "p", points: 2, windowMs: 1_000, costOf: () => 1 });
    pace.spend(1, 0);
    pace.spend(1, 900);
    pace.refund(1, 0);
    pace.refund(1, 0);
    expect(pace.freeAt(1, 950)).toBe(950);
    expect(pace.freeAt(2, 950)).toBe(1_900);
  });

  test("An estimate assumes that the requests ahead are sent as early as possible", () => {
    const pace = new Pace({ name: "p", points: 2, windowMs: 1_000, costOf: () => 1 });
    pace.spend(1, 0);
    pace.spend(1, 300);
    expect([0, 1, 2, 3, 4].map((ahead) => pace.estimate(1, ahead, 400))).toEqual([1_000, 1_300, 2_000, 2_300, 3_000]);
    expect(pace.estimate(0, 9, 400)).toBe(400);
  });

  test("A request that costs more than all points counts as all of them", () => {
    const pace = new Pace({ name: "p", points: 2, windowMs: 1_000, costOf: () => 1 });
    expect(pace.freeAt(5, 0)).toBe(0);
    pace.spend(5, 0);
    expect(pace.freeAt(1, 500)).toBe(1_000);
  });
});

describe("Budget of refusals", () => {
  const rule = { limit: 10_000, windowMs: 600_000, counts: () => true };

  test("A client that is always refused never spends the budget, however many requests it has in flight", () => {
    const budget = new RefusalBudget(rule);
    const refusedAt: number[] = [];
    const inFlight: number[] = [];
    let first = 0;
    for (let now = 0; now < 1_300_000; now += 20) {
      while (inFlight[0] !== undefined && inFlight[0] <= now) {
        budget.note(now);
        refusedAt.push(inFlight.shift() as number);
      }
      // Up to fifty requests a second, each with a response after four seconds.
      if (budget.freeAt(now, inFlight.length) <= now) {
        budget.sent(now);
        inFlight.push(now + 4_000);
      }
      while ((refusedAt[first] ?? now) <= now - 600_000) first++;
      expect(refusedAt.length - first).toBeLessThan(9_600);
    }
    expect(refusedAt.length).toBeGreaterThan(16_000);
  });

  test("Requests slow down and stop before the ban, and resume as the refusals age", () => {
    const budget = new RefusalBudget(rule);
    budget.note(0, 7_999);
    expect(budget.freeAt(1_000)).toBe(1_000);
    budget.note(0, 1);
    budget.sent(1_000);
    expect(budget.freeAt(1_000)).toBe(1_400);
    budget.note(5_000, 1_500);
    expect(budget.spent(9_000)).toBe(9_500);
    // Until the end of their ten-second slot, plus the length of the window.
    expect(budget.freeAt(9_000)).toBe(610_000);
    expect(budget.freeAt(610_000)).toBe(610_000);
    expect(budget.spent(610_000)).toBe(0);
  });

  test("The budget gives the exact time of the next request", () => {
    const noted = fc.record({ atMs: fc.integer({ min: 0, max: 500_000 }), count: fc.integer({ min: 1, max: 6_000 }) });
    fc.assert(
      fc.property(fc.array(noted, { maxLength: 6 }), fc.integer({ min: 0, max: 500 }), (all, inFlight) => {
        const budget = new RefusalBudget(rule);
        for (const { atMs, count } of all.sort((a, b) => a.atMs - b.atMs)) budget.note(atMs, count);
        budget.sent(500_000);
        const at = budget.freeAt(500_000, inFlight);
        if (at > 500_000) expect(budget.freeAt(at - 1, inFlight)).toBe(at);
        expect(budget.freeAt(at, inFlight)).toBe(at);
      }),
      { numRuns: 100 },
    );
  });
});
