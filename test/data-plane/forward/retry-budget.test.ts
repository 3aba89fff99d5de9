import fc from "fast-check";
import { expect, test } from "vitest";
import { RetryBudget } from "../../../src/data-plane/forward/retry-budget.ts";

test("A single request gets all of its retries", () => {
  const budget = new RetryBudget();
  budget.deposit();
  expect([budget.take(), budget.take()]).toEqual([true, true]);
  expect(budget.withheld).toBe(0);
});

test("At most ten retries are in reserve after any number of successful requests", () => {
  const budget = new RetryBudget();
  for (let i = 0; i < 1_000; i++) budget.deposit();
  expect(Array.from({ length: 13 }, () => budget.take()).filter(Boolean)).toHaveLength(10);
  expect(budget.withheld).toBe(3);
});

test("If every request fails, every second one is retried in the long run", () => {
  const budget = new RetryBudget();
  let retries = 0;
  for (let i = 0; i < 1_000; i++) {
    budget.deposit();
    for (let n = 0; n < 2 && budget.take(); n++) retries++;
  }
  expect(retries).toBeLessThanOrEqual(510);
  expect(retries).toBeGreaterThan(300);
});

test("For every sequence there are at most 1.5 times as many attempts as requests, plus ten", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(5), { maxLength: 300 }), (wanted) => {
      const budget = new RetryBudget();
      let attempts = 0;
      wanted.forEach((retries, i) => {
        budget.deposit();
        attempts += 1;
        for (let n = 0; n < retries && budget.take(); n++) attempts += 1;
        expect(attempts).toBeLessThanOrEqual(1.5 * (i + 1) + 10);
      });
    }),
  );
});
