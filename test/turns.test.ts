/** Long work lets others have their turn: what is asked of thousands of services at once must not keep a request waiting. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { loadConfig, loadConfigInTurns } from "../src/config/load-config.ts";
import { takeLooks } from "../src/diagnostics/looks.ts";
import { jsonInTurns } from "../src/json-in-turns.ts";
import { createMetrics } from "../src/telemetry/metrics.ts";
import { textsMasked } from "../src/telemetry/redact.ts";
import { mapInTurns } from "../src/turns.ts";
import { costOf } from "./support/cost.ts";

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
  const looks = takeLooks(keys, () => Promise.reject(new Error("must not be asked")), 100);
  const turns = await turnsDuring(() => Promise.all(keys.map((key) => looks.of(key).then(() => toil(1)))));
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

describe("a configuration of thousands of services", () => {
  function folderWith(count: number): string {
    const directory = mkdtempSync(join(tmpdir(), "byteproxy-turns-"));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const services = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `s${i}`,
        { baseUrl: `http://example.com/${i}`, auth: { type: "bearer", tokenEnvVar: `TOKEN_${i}` } },
      ]),
    );
    writeFileSync(join(directory, "services.json"), JSON.stringify({ services }, null, 2));
    return directory;
  }
  const optionsOf = (directory: string) => ({
    directory,
    processEnv: { CONFIG_FILE: join(directory, "services.json"), DATA_DIR: join(directory, "data") },
  });

  test("is read with others in between, and to the same end", async () => {
    const options = optionsOf(folderWith(2_000));
    const atOnce = loadConfig(options);
    const turns = await turnsDuring(async () => {
      const { services, definitions, warnings } = await loadConfigInTurns(options);
      expect([...services]).toEqual([...atOnce.services]);
      expect([...definitions]).toEqual([...atOnce.definitions]);
      expect(warnings).toEqual(atOnce.warnings);
      expect(Object.isFrozen(services.get("s7")?.auth)).toBe(true);
    });
    expect(turns).toBeGreaterThan(5);
  });

  test("with a warning for each is read in a time that rises with their number, and no faster", async () => {
    const cost = (count: number) => {
      const options = optionsOf(folderWith(count));
      expect(loadConfig(options).warnings.length).toBeGreaterThanOrEqual(count);
      return costOf(() => loadConfig(options));
    };
    const few = await cost(500);
    // Eight times as many.
    expect(await cost(4_000)).toBeLessThan(20 * few + 50);
  });

  test("is searched for what a strange variable may mean without a look at each name", async () => {
    const options = optionsOf(folderWith(2_000));
    const cost = (strange: number) => {
      const lines = Array.from({ length: strange }, (_, i) => `SOME_OTHER_PROGRAMS_${i}=1\n`);
      writeFileSync(join(options.directory, ".env"), lines.join(""));
      return costOf(() => loadConfig(options));
    };
    const without = await cost(0);
    expect(await cost(500)).toBeLessThan(3 * without + 50);
  });

  test("locks the secrets of services that were added at run time without a look at each of the file", async () => {
    const cost = (count: number) => {
      const { readRuntimeService } = loadConfig(optionsOf(folderWith(count)));
      const added = (i: number) => ({
        baseUrl: `http://example.com/added-${i}`,
        auth: { type: "bearer", tokenEnvVar: `TOKEN_${i}` },
      });
      return costOf(() => {
        for (let i = 0; i < 100; i++) readRuntimeService(`added-${i}`, added(i));
      }, 20);
    };
    const few = await cost(100);
    // Twenty times as many in the file.
    expect(await cost(2_000)).toBeLessThan(5 * few);
  });
});
