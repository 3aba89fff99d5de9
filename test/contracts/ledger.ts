/** What every kind of ledger must do: one suite for all. */
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
    test("grants where nothing is known, and what is left where something is", async () => {
      const ledger = open();
      await learn(ledger, 2);
      const answers = [];
      for (let i = 0; i < 4; i++) answers.push(await ledger.reserve("k", 1, 1_000, 1));
      expect(answers.map(({ isGranted }) => isGranted)).toEqual([true, true, false, false]);
      expect(answers[2]).toEqual({ isGranted: false, resetsAt: 10_000 });
      expect(await ledger.reserve("other", 1, 1_000, 1)).toMatchObject({ isGranted: true });
      expect(await ledger.list(1)).toEqual([{ key: "k", account: account(2), reserved: 2 }]);
    });

    test("frees what was released, spends what was settled, and believes the upstream over itself", async () => {
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

    test("takes of two answers that overtook each other the one that leaves less, until the window is another", async () => {
      const ledger = open();
      await learn(ledger, 3);
      await learn(ledger, 5);
      expect((await ledger.list(1))[0]?.account.remaining).toBe(3);
      await learn(ledger, 9, 70_000);
      expect((await ledger.list(1))[0]?.account).toEqual(account(9, 70_000));
      await learn(ledger, 1, 10_000);
      // Nothing of an earlier window is taken over, but the point is gone all the same.
      expect((await ledger.list(1))[0]?.account).toEqual(account(8, 70_000));
    });

    test("frees no point of whose request an answer of another window tells", async () => {
      const ledger = open();
      await learn(ledger, 1, 70_000);
      const { id } = (await ledger.reserve("k", 1, 500, 0)) as { id: string };
      await ledger.settle("k", id, account(0, 60_000), 1);
      expect(await ledger.reserve("k", 1, 500, 2)).toEqual({ isGranted: false, resetsAt: 70_000 });
    });

    test("lists and forgets by the beginning of the keys", async () => {
      const ledger = open();
      await ledger.settle("a\n1", "", account(3), 0);
      await ledger.settle("b\n1", "", account(3), 0);
      await ledger.settle("b\n2", "", account(0), 0);
      expect((await ledger.list(1, "b\n")).map(({ key }) => key).sort()).toEqual(["b\n1", "b\n2"]);
      await ledger.forget("b\n");
      expect((await ledger.list(1)).map(({ key }) => key)).toEqual(["a\n1"]);
      expect(await ledger.reserve("b\n2", 1, 500, 1)).toMatchObject({ isGranted: true });
    });

    test("frees what a holder that died had set aside when its lease is over, and everything when the window is", async () => {
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

    test("spends what outlived its lease and was sent all the same", async () => {
      const ledger = open();
      await learn(ledger, 3);
      const { id } = (await ledger.reserve("k", 1, 100, 0)) as { id: string };
      expect((await ledger.list(100))[0]?.reserved).toBe(0);
      await ledger.settle("k", id, undefined, 5_000);
      await ledger.settle("k", id, undefined, 5_000);
      expect((await ledger.list(5_000))[0]?.account.remaining).toBe(2);
    });

    test("settling or releasing twice, or what never was, changes nothing", async () => {
      const ledger = open();
      await learn(ledger, 3);
      const { id } = (await ledger.reserve("k", 1, 1_000, 1)) as { id: string };
      await ledger.release("k", id, 1);
      await ledger.release("k", id, 1);
      await ledger.settle("k", "no such id", undefined, 1);
      expect(await ledger.list(1)).toEqual([{ key: "k", account: account(3), reserved: 0 }]);
    });

    test("never sets aside more than is left, whatever comes in whatever order", async () => {
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
              const answer = await ledger.reserve("k", each.points, 1_000, now);
              if (answer.isGranted) held.push(answer.id);
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
