/** What all clients share before it is known who they are. */
import { expect, test } from "vitest";
import { SharedBudget } from "../../src/limits/shared-budget.ts";

test("One address takes at most half, all of them at most the whole, and what is released can be taken again", () => {
  const budget = new SharedBudget(10);
  expect([budget.take(5, "192.0.2.1"), budget.take(1, "192.0.2.1")]).toEqual([true, false]);
  budget.release(1, "192.0.2.1");
  expect([budget.take(5, "192.0.2.2"), budget.take(1, "192.0.2.3")]).toEqual([true, false]);
  budget.release(1, "192.0.2.3");
  budget.release(5, "192.0.2.1");
  expect([budget.take(3, "192.0.2.3"), budget.taken]).toEqual([true, 8]);
});

test("The addresses of one IPv6 network are one", () => {
  const budget = new SharedBudget(10);
  expect([budget.take(3, "2001:db8::1"), budget.take(3, "2001:db8::2")]).toEqual([true, false]);
});
