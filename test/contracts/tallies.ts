/** The contract of every kind of tallies, as one suite. */
import { describe, expect, test } from "vitest";
import type { Tallies } from "../../src/stores/tallies.ts";

const counts = (input: number) => ({ input, cached: 1, output: 2, estimated: 3 });

/** @param open new, empty tallies, for so many keys with a fallback. */
export function describeTallies(kind: string, open: (limit?: number) => Tallies): void {
  const at = (month: number, day: number, hour: number) => Date.UTC(2026, month - 1, day, hour, 59, 59, 999);

  describe(`tallies, ${kind}`, () => {
    test("What is added counts at once, in the hour, the day and the month of its time", async () => {
      const tallies = open();
      void tallies.add("k", counts(10), at(1, 31, 22));
      void tallies.add("k", counts(100), at(1, 31, 23));
      const totals = async (now: number) =>
        Promise.all((["hour", "day", "month"] as const).map((per) => tallies.total("k", per, now)));
      expect(await totals(at(1, 31, 23))).toEqual([106, 122, 122]);
      expect(await totals(at(1, 31, 23) + 1)).toEqual([0, 0, 0]);
      expect(await tallies.total("other", "day", at(1, 31, 23))).toBe(0);
    });

    test("The list has the tallies of a prefix with tokens in the current window", async () => {
      const tallies = open();
      await tallies.add("a\n1", counts(1), at(2, 1, 5));
      await tallies.add("a\n1", counts(1), at(2, 1, 6));
      await tallies.add("b\n1", counts(1), at(2, 1, 6));
      expect(await tallies.list("a\n", "day", at(2, 1, 6))).toEqual([
        { key: "a\n1", input: 2, cached: 2, output: 4, estimated: 6, total: 14 },
      ]);
      expect(await tallies.list("a\n", "day", at(2, 2, 6))).toEqual([]);
      expect(await tallies.list("a\n", "month", at(2, 2, 6))).toHaveLength(1);
    });

    test("A clock that is set back a little begins no new window, and one that was far ahead blocks none", async () => {
      const tallies = open();
      await tallies.add("k", counts(10), at(3, 1, 0));
      expect(await tallies.total("k", "month", at(2, 28, 23))).toBe(16);
      await tallies.add("k", counts(10), at(2, 28, 23));
      expect(await tallies.total("k", "month", at(3, 1, 0))).toBe(32);
      await tallies.add("ahead", counts(10), at(12, 1, 0));
      expect(await tallies.total("ahead", "hour", at(3, 1, 0))).toBe(0);
    });

    test("Beyond the limit new keys count under their fallback, and those without one are always kept", async () => {
      const tallies = open(2);
      await tallies.add("a", counts(1), at(4, 1, 0), "rest");
      await tallies.add("b", counts(1), at(4, 1, 0), "rest");
      for (const key of ["c", "d", "a"]) await tallies.add(key, counts(1), at(4, 1, 0), "rest");
      await tallies.add("budget", counts(1), at(4, 1, 0));
      const totals = Object.fromEntries(
        (await tallies.list("", "day", at(4, 1, 0))).map(({ key, total }) => [key, total]),
      );
      expect(totals).toEqual({ a: 14, b: 7, rest: 14, budget: 7 });
      await tallies.add("c", counts(1), at(5, 1, 0), "rest");
      expect((await tallies.list("", "month", at(5, 1, 0))).map(({ key }) => key)).toEqual(["c"]);
    });
  });
}
