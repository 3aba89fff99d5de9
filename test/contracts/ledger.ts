/** The contract of every kind of ledger, as one suite. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Ledger } from "../../src/stores/ledger.ts";

/** @param open a new, empty ledger. */
export function describeLedger(kind: string, open: () => Ledger): void {
  const account = (remaining: number, resetsAt = 10_000) => ({ limit: 10, remaining, resetsAt });

  async function learn(ledger: Ledger, remaining: number, resetsAt?: number, now = 0): Promise<void> {
    const { id } = (await ledger.reserve("k", 1, 1_000, now)) as { id: string };
    await ledger.settle("k", id, account(remaining, resetsAt), now);
  }

  describe(`ledger, ${kind}`, () => {
    test("An unknown account grants every reservation, a known one as many points as remain", async () => {
      const ledger = open();
      await learn(ledger, 2);
      const reservations = [];
      for (let i = 0; i < 4; i++) reservations.push(await ledger.reserve("k", 1, 1_000, 1));
      expect(reservations.map(({ isGranted }) => isGranted)).toEqual([true, true, false, false]);
      expect(reservations[2]).toEqual({ isGranted: false, resetsAt: 10_000 });
      expect(await ledger.reserve("other", 1, 1_000, 1)).toMatchObject({ isGranted: true });
      expect(await ledger.list(1)).toEqual([{ key: "k", account: account(2), reserved: 2 }]);
    });

    test("Releasing frees points, settling spends them, and the account in a response takes precedence", async () => {
      const ledger = open();
      await learn(ledger, 3);
      const [a, b, c] = [
        (await ledger.reserve("k", 1, 1_000, 1)) as { id: string },
        (await ledger.reserve("k", 1, 1_000, 1)) as { id: string },
        (await ledger.reserve("k", 1, 1_000, 1)) as { id: string },
      ];
      await ledger.release("k", a.id, 2);
      await ledger.settle("k", b.id, undefined, 2);
      expect(await ledger.list(2)).toEqual([{ key: "k", account: account(2), reserved: 1 }]);
      await ledger.settle("k", c.id, account(0), 3);
      expect(await ledger.reserve("k", 1, 1_000, 4)).toMatchObject({ isGranted: false });
    });

    test("Of two responses about one window the one with less remaining counts, until the window changes", async () => {
      const ledger = open();
      await learn(ledger, 3);
      await learn(ledger, 5);
      expect((await ledger.list(1))[0]?.account.remaining).toBe(3);
      await learn(ledger, 9, 70_000);
      expect((await ledger.list(1))[0]?.account).toEqual(account(9, 70_000));
      await learn(ledger, 1, 10_000);
      // Nothing of an earlier window is adopted, but the point is spent.
      expect((await ledger.list(1))[0]?.account).toEqual(account(8, 70_000));
    });

    test("A response about another window frees no point of its request", async () => {
      const ledger = open();
      await learn(ledger, 1, 70_000);
      const { id } = (await ledger.reserve("k", 1, 500, 0)) as { id: string };
      await ledger.settle("k", id, account(0, 60_000), 1);
      expect(await ledger.reserve("k", 1, 500, 2)).toEqual({ isGranted: false, resetsAt: 70_000 });
    });

    test("Accounts are listed and dropped by the prefix of their keys", async () => {
      const ledger = open();
      await ledger.settle("a\n1", "", account(3), 0);
      await ledger.settle("b\n1", "", account(3), 0);
      await ledger.settle("b\n2", "", account(0), 0);
      expect((await ledger.list(1, "b\n")).map(({ key }) => key).sort()).toEqual(["b\n1", "b\n2"]);
      await ledger.forget("b\n");
      expect((await ledger.list(1)).map(({ key }) => key)).toEqual(["a\n1"]);
      expect(await ledger.reserve("b\n2", 1, 500, 1)).toMatchObject({ isGranted: true });
    });

    test("The points of a holder that died are free again when its lease is over, and all points when the window is", async () => {
      const ledger = open();
      await learn(ledger, 1);
      await ledger.reserve("k", 1, 500, 0);
      expect(await ledger.reserve("k", 1, 500, 499)).toMatchObject({ isGranted: false });
      expect(await ledger.reserve("k", 1, 500, 500)).toMatchObject({ isGranted: true });
      await learn(ledger, 0, 10_000, 1_100);
      expect(await ledger.reserve("k", 1, 500, 9_999)).toMatchObject({ isGranted: false });
      expect(await ledger.reserve("k", 1, 500, 10_000)).toMatchObject({ isGranted: true });
      expect(await ledger.list(10_000)).toEqual([]);
    });

    test("A request that outlives its lease still spends its points", async () => {
      const ledger = open();
      await learn(ledger, 3);
      const { id } = (await ledger.reserve("k", 1, 100, 0)) as { id: string };
      expect((await ledger.list(100))[0]?.reserved).toBe(0);
      await ledger.settle("k", id, undefined, 5_000);
      await ledger.settle("k", id, undefined, 5_000);
      expect((await ledger.list(5_000))[0]?.account.remaining).toBe(2);
    });

    test("Settling or releasing a reservation twice, or an unknown one, changes nothing", async () => {
      const ledger = open();
      await learn(ledger, 3);
      const { id } = (await ledger.reserve("k", 1, 1_000, 1)) as { id: string };
      await ledger.release("k", id, 1);
      await ledger.release("k", id, 1);
      await ledger.settle("k", "no such id", undefined, 1);
      expect(await ledger.list(1)).toEqual([{ key: "k", account: account(3), reserved: 0 }]);
    });

    test("Reservations never exceed the remaining points, in any order of operations", async () => {
      const step = fc.oneof(
        fc.record({ do: fc.constant("reserve" as const), points: fc.integer({ min: 1, max: 3 }) }),
        fc.record({ do: fc.constant("release" as const), which: fc.nat(9) }),
        fc.record({ do: fc.constant("settle" as const), which: fc.nat(9) }),
        fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 1, max: 400 }) }),
      );
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
          const ledger = open();
          await learn(ledger, 8, 1_000_000);
          let now = 0;
          const held: string[] = [];
          for (const each of steps) {
            if (each.do === "wait") now += each.ms;
            else if (each.do === "reserve") {
              const response = await ledger.reserve("k", each.points, 1_000, now);
              if (response.isGranted) held.push(response.id);
            } else {
              const [id = ""] = held.splice(each.which % Math.max(1, held.length), 1);
              if (each.do === "release") await ledger.release("k", id, now);
              else await ledger.settle("k", id, undefined, now);
            }
            const [entry] = await ledger.list(now);
            expect(entry?.reserved).toBeLessThanOrEqual(entry?.account.remaining ?? 0);
          }
          await ledger.close();
        }),
        { numRuns: 50 },
      );
    });
  });
}
