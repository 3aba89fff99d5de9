/** The contract of every kind of records store, as one suite. */
import { describe, expect, test } from "vitest";
import { ABSENT, type Records, VersionConflict } from "../../src/stores/records.ts";

export interface Thing {
  readonly name: string;
}

/** @param open a new, empty store. */
export function describeRecords(kind: string, open: () => Records<Thing>): void {
  const thing = (name: string): Thing => ({ name });

  describe(`records, ${kind}`, () => {
    test("Readers see each change, with a version that rises with each change", async () => {
      const records = open();
      const a = await records.put("a", thing("one"));
      const b = await records.put("b", thing("two"));
      const again = await records.put("a", thing("three"));
      expect(records.entries).toEqual(
        new Map([
          ["a", again],
          ["b", b],
        ]),
      );
      expect(a.version).toBeGreaterThan(ABSENT);
      expect(b.version).toBeGreaterThan(a.version);
      expect(again).toEqual({ value: { name: "three" }, version: expect.any(Number) });
      expect(again.version).toBeGreaterThan(b.version);
    });

    test("A change that expects another version is refused and changes nothing", async () => {
      const records = open();
      const first = await records.put("a", thing("one"), ABSENT);
      await expect(records.put("a", thing("two"), ABSENT)).rejects.toThrow(VersionConflict);
      await expect(records.put("b", thing("two"), first.version)).rejects.toMatchObject({ current: ABSENT });
      await expect(records.delete("a", first.version + 1)).rejects.toMatchObject({ current: first.version });
      expect([...records.entries]).toEqual([["a", first]]);
      const second = await records.put("a", thing("two"), first.version);
      expect(await records.delete("a", second.version)).toBe(true);
      expect([...records.entries]).toEqual([]);
    });

    test("Of several changes that expect the same version exactly one succeeds", async () => {
      const records = open();
      const tries = Array.from({ length: 20 }, (_, i) => records.put("a", thing(String(i)), ABSENT));
      const outcomes = await Promise.allSettled(tries);
      const won = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
      expect(won).toHaveLength(1);
      expect(records.entries.get("a")).toEqual(won[0]);
    });

    test("A version is never reused, not even for a key that was deleted and created again", async () => {
      const records = open();
      const first = await records.put("a", thing("one"));
      expect(await records.delete("a")).toBe(true);
      expect(await records.delete("a")).toBe(false);
      const second = await records.put("a", thing("one"));
      expect(second.version).toBeGreaterThan(first.version);
      await expect(records.put("a", thing("two"), first.version)).rejects.toThrow(VersionConflict);
    });

    test("Watchers learn of each change once it is visible and before it is confirmed", async () => {
      const records = open();
      const seen: [string, Thing | undefined][] = [];
      const stop = records.watch((key) => seen.push([key, records.entries.get(key)?.value]));
      const put = records.put("a", thing("one")).then(() => seen.push(["confirmed", undefined]));
      await put;
      await records.delete("a");
      await records.delete("never there");
      await expect(records.put("a", thing("two"), 99)).rejects.toThrow();
      stop();
      await records.put("a", thing("three"));
      expect(seen).toEqual([
        ["a", { name: "one" }],
        ["confirmed", undefined],
        ["a", undefined],
      ]);
    });

    test("Concurrent changes are made one after another, in their order", async () => {
      const records = open();
      const changes = Array.from({ length: 50 }, (_, i) => records.put(`k${i % 5}`, thing(String(i))));
      const stored = await Promise.all(changes);
      expect(stored.map(({ version }) => version)).toEqual(
        [...stored.map(({ version }) => version)].sort((a, b) => a - b),
      );
      expect([...records.entries].map(([key, { value }]) => [key, value.name])).toEqual(
        ["45", "46", "47", "48", "49"].map((name, i) => [`k${i}`, name]),
      );
    });

    test("Any text can be a key", async () => {
      const records = open();
      const keys = ["__proto__", "constructor", "", "ä/ö\n\u2028", "0"];
      for (const key of keys) await records.put(key, thing(key));
      expect([...records.entries.keys()].sort()).toEqual([...keys].sort());
    });
  });
}
