import fc from "fast-check";
import { expect, test } from "vitest";
import {
  backoffMs,
  isIdempotent,
  isRetriableStatus,
  RetryBudget,
  retryAfterMs,
} from "../../../src/data-plane/forward/retry.ts";

test.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])("%s may be retried", (method) => {
  expect(isIdempotent(method)).toBe(true);
});

test.each(["POST", "PATCH", "LOCK", "get"])("%s is never retried", (method) => {
  expect(isIdempotent(method)).toBe(false);
});

test("Only 502, 503 and 504 are retried", () => {
  expect([200, 401, 429, 500, 501, 502, 503, 504].filter(isRetriableStatus)).toEqual([502, 503, 504]);
});

test("The back-off doubles, is jittered from 0 and is bounded", () => {
  expect([0, 1, 2, 10].map((retry) => backoffMs(retry, 0.999999))).toEqual([99, 199, 399, 4999]);
  expect(backoffMs(3, 0)).toBe(0);
});

test.each([
  ["3", 3000],
  ["0", 0],
  ["Thu, 01 Jan 1970 00:00:20 GMT", 10_000],
  ["Thu, 01 Jan 1970 00:00:05 GMT", 0],
  ["Thursday, 01-Jan-70 00:00:20 GMT", 10_000],
  ["99999999999", 99_999_999_999_000],
  ["9".repeat(400), Number.POSITIVE_INFINITY],
  ["soon", undefined],
  ["-1", undefined],
  ["1.5", undefined],
  ["", undefined],
  [["1", "2"], undefined],
  [undefined, undefined],
])("Retry-After %s at second 10 means a pause of %s ms", (value, expected) => {
  expect(retryAfterMs({ "retry-after": value }, 10_000)).toBe(expected);
});

test("A readable retry-after-ms takes precedence over Retry-After", () => {
  const asked = (milliseconds: string) => retryAfterMs({ "retry-after-ms": milliseconds, "retry-after": "2" }, 0);
  expect(["250", "0.5", "soon", "-3"].map(asked)).toEqual([250, 0.5, 2_000, 2_000]);
});

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
