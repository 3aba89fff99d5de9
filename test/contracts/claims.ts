/** What every kind of claims store must do: one suite for all. */
import { describe, expect, test } from "vitest";
import type { Claims } from "../../src/stores/claims.ts";

/** @param open a new, empty store. */
export function describeClaims(kind: string, open: () => Claims<string>): void {
  describe(`claims, ${kind}`, () => {
    test("are won by one of many; the others learn that it is pending, then what came of it", async () => {
      const claims = open();
      const tries = await Promise.all(Array.from({ length: 20 }, () => claims.claim("k", 1_000, 0)));
      expect(tries.filter(({ state }) => state === "won")).toHaveLength(1);
      expect(tries.filter(({ state }) => state === "pending")).toHaveLength(19);
      const { fence } = tries.find(({ state }) => state === "won") as { fence: number };
      expect(await claims.finish("k", fence, { value: "made", keepMs: 5_000 }, 500)).toBe(true);
      expect(await claims.claim("k", 1_000, 5_499)).toEqual({ state: "done", value: "made" });
      expect(await claims.claim("other", 1_000, 0)).toMatchObject({ state: "won" });
    });

    test("are free again when they were abandoned, when the lease is over, and when the outcome is told no longer", async () => {
      const claims = open();
      const first = (await claims.claim("k", 1_000, 0)) as { fence: number };
      expect(await claims.abandon("k", first.fence)).toBe(true);
      const second = (await claims.claim("k", 1_000, 10)) as { state: string; fence: number };
      expect(second.state).toBe("won");
      expect(await claims.claim("k", 1_000, 1_009)).toEqual({ state: "pending" });
      const third = (await claims.claim("k", 1_000, 1_010)) as { state: string; fence: number };
      expect(third.state).toBe("won");
      await claims.finish("k", third.fence, { value: "made", keepMs: 100 }, 1_100);
      expect(await claims.claim("k", 1_000, 1_200)).toMatchObject({ state: "won" });
    });

    test("refuse the word of a holder that has lost them", async () => {
      const claims = open();
      const late = (await claims.claim("k", 1_000, 0)) as { fence: number };
      const next = (await claims.claim("k", 1_000, 2_000)) as { fence: number };
      expect(next.fence).toBeGreaterThan(late.fence);
      expect(await claims.finish("k", late.fence, { value: "late", keepMs: 5_000 }, 2_100)).toBe(false);
      expect(await claims.abandon("k", late.fence)).toBe(false);
      expect(await claims.finish("k", next.fence, { value: "next", keepMs: 5_000 }, 2_200)).toBe(true);
      expect(await claims.claim("k", 1_000, 2_300)).toEqual({ state: "done", value: "next" });
    });
  });
}
