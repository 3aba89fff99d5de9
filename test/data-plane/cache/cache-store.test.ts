/** Runs the store in memory through the suite of its contract, and measures its memory. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { MemoryStore } from "../../../src/data-plane/cache/cache-store.ts";
import { describeCacheStore, response } from "../../contracts/cache-store.ts";

describeCacheStore("in memory", (bounds) => new MemoryStore(bounds));

test("A million hits keep no memory", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const store = new MemoryStore({ maxBytes: 1_000_000, maxEntries: 100 });
  for (let i = 0; i < 64; i++) store.put(`k${i}`, `u${i}`, response(String(i)));
  const hit = (times: number) => {
    for (let i = 0; i < times; i++) store.find(`k${i % 64}`);
  };
  hit(10_000);
  collect();
  const before = process.memoryUsage().heapUsed;
  hit(1_000_000);
  collect();
  // A Map that is reordered beside an iterator keeps 80 bytes of each use.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(16 * 2 ** 20);
});
