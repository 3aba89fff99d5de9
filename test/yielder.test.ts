/** Work that grows with the number of services yields to the event loop, so that requests are served meanwhile. */
import { expect, test } from "vitest";
import { startProbes } from "../src/diagnostics/probes.ts";
import { Yielder } from "../src/yielder.ts";
import { countYields } from "./support/yields.ts";

/** Work that takes a while. */
function compute(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until) {
    // The event loop waits.
  }
}

test("A loop that checks a Yielder after each step lets other work run in between", async () => {
  const yields = await countYields(async () => {
    const yielder = new Yielder();
    for (let i = 0; i < 100; i++) {
      compute(2);
      if (yielder.isDue) await yielder.yield();
    }
  });
  expect(yields).toBeGreaterThan(10);
});

test("A Yielder is not due before its piece of work has taken 10 ms", () => {
  const yielder = new Yielder();
  expect(yielder.isDue).toBe(false);
  compute(11);
  expect(yielder.isDue).toBe(true);
});

test("Reporting that there was no time to probe 200 upstreams lets other work run in between", async () => {
  const keys = Array.from({ length: 200 }, (_, i) => `s${i}`);
  const probes = startProbes(keys, () => Promise.reject(new Error("must not be asked")), 100);
  const yields = await countYields(() => Promise.all(keys.map((key) => probes.of(key).then(() => compute(1)))));
  expect(yields).toBeGreaterThan(5);
});
