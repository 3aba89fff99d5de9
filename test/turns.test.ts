/** Long work lets others have their turn: what is asked of thousands of services at once must not keep a request waiting. */
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { startProbes } from "../src/diagnostics/probes.ts";
import { jsonInTurns } from "../src/json-in-turns.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { textsMasked } from "../src/telemetry/redact.ts";
import { mapInTurns } from "../src/turns.ts";

/** How often the event loop turned while this was under way, by a clock that goes on by 1 ms with each look at it, on any machine. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let now = performance.now();
  const clock = vi.spyOn(performance, "now").mockImplementation(() => ++now);
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  try {
    await work();
  } finally {
    isOver = true;
    clock.mockRestore();
  }
  return turns;
}

/** A piece of work that takes a while. */
function toil(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until) {
    // Others wait.
  }
}

test("a long list is worked off with others in between", async () => {
  const items = Array.from({ length: 100 }, (_, i) => i);
  const turns = await turnsDuring(async () => {
    const doubled = await mapInTurns(items, (i) => {
      toil(2);
      return i * 2;
    });
    expect(doubled).toEqual(items.map((i) => i * 2));
  });
  expect(turns).toBeGreaterThan(10);
});

test("upstreams that there is no time for keep nobody waiting while their checks say so", async () => {
  const keys = Array.from({ length: 200 }, (_, i) => `s${i}`);
  const probes = startProbes(keys, () => Promise.reject(new Error("must not be asked")), 100);
  const turns = await turnsDuring(() => Promise.all(keys.map((key) => probes.of(key).then(() => toil(1)))));
  expect(turns).toBeGreaterThan(5);
});

describe("JSON in turns", () => {
  test("is that of JSON.stringify, whatever the value", async () => {
    const value = fc.object({ maxDepth: 4, values: [fc.string(), fc.integer(), fc.boolean(), fc.constant(null)] });
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(value, fc.array(value), fc.record({ list: fc.array(value), text: fc.string() })),
        async (some) => {
          const plain: unknown = JSON.parse(JSON.stringify(some));
          expect(await jsonInTurns(plain as object)).toBe(JSON.stringify(plain));
        },
      ),
    );
    expect(await jsonInTurns({ a: undefined, b: [undefined, 1], c: { d: undefined } })).toBe('{"b":[null,1],"c":{}}');
    expect(await jsonInTurns([])).toBe("[]");
  });

  test("has every text in it masked", async () => {
    const mask = (text: string) => text.replaceAll("secret", "***");
    const value = { checks: [{ id: "a", evidence: { deep: ["a secret"] } }], summary: "the secret" };
    expect(JSON.parse(await jsonInTurns(value, textsMasked(mask)))).toEqual({
      checks: [{ id: "a", evidence: { deep: ["a ***"] } }],
      summary: "the ***",
    });
  });

  test("lets others in between the entries of a list", async () => {
    const list = Array.from({ length: 100 }, () => "x");
    const slow = (_: string, each: unknown) => {
      if (each === "x") toil(2);
      return each;
    };
    expect(await turnsDuring(() => jsonInTurns({ list }, slow))).toBeGreaterThan(10);
  });
});

test("a scrape is written with others in between, and tells of one moment", async () => {
  let measurements = 0;
  const idle = {
    credentialRefusals: 0,
    connections: undefined,
    breaker: undefined,
    retriesWithheld: 0,
    quota: undefined,
  };
  const sample = { eventLoopDelay: 0, heapUsed: 0, rssBytes: 0, eventLoopUtilized: 0 };
  const metrics = createMetrics({
    *services() {
      measurements += 1;
      for (let i = 0; i < 5_000; i++) yield { ...idle, key: `s${i}`, inFlight: measurements };
    },
    ...{ listeners: () => [], openWebSockets: () => 0, isDraining: () => false, version: "1" },
    pressure: () => ({ sample, isUnderPressure: false }),
  });
  for (const scrape of [1, 2]) {
    expect(await metrics.text()).toContain(`byteproxy_requests_in_flight{service="s4999"} ${scrape}\n`);
    expect(measurements).toBe(scrape);
  }
  expect(await turnsDuring(metrics.text)).toBeGreaterThan(0);
});
