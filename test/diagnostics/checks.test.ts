/** Checks of conditions that a test cannot create with a real gateway: scarce memory, a container, slow probes. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { settingsSchema } from "../../src/config/settings.ts";
import type { ProbeOutcome } from "../../src/data-plane/forward/probe.ts";
import type { DiagnosticsContext } from "../../src/diagnostics/check.ts";
import { CHECKS, createDiagnostics, SERVICE_CHECKS, UNFINISHED } from "../../src/diagnostics/diagnostics.ts";
import { hooks } from "../../src/diagnostics/hooks.ts";
import { findContainer, listen } from "../../src/diagnostics/listen.ts";
import { memory } from "../../src/diagnostics/memory.ts";
import { type Probes, startProbes } from "../../src/diagnostics/probes.ts";
import { load } from "../config/temp-folder.ts";
import { writeHooks } from "../support/hooks.ts";

const NO_PROBES: Probes = { of: async () => undefined, all: async () => [] };

const context = (parts: Partial<DiagnosticsContext>) => parts as DiagnosticsContext;

describe("memory", () => {
  const run = (numbers: { rss: number; heapUsed: number; heapLimit: number; limit: number | null }) =>
    memory.run(context({ memory: () => numbers }), NO_PROBES);

  test("Memory use far below every limit is ok, also in a container without a limit", () => {
    expect(run({ rss: 80, heapUsed: 20, heapLimit: 100, limit: 100 })).toMatchObject({ status: "ok" });
    expect(run({ rss: 800, heapUsed: 20, heapLimit: 100, limit: null })).toMatchObject({ status: "ok" });
  });

  test("Heap use near its limit is reported, with the option that raises the limit", () => {
    expect(run({ rss: 10, heapUsed: 90, heapLimit: 100, limit: null })).toMatchObject({
      status: "warn",
      summary: "heap use is at 90 % of its limit",
      fix: expect.stringContaining("--max-old-space-size"),
    });
  });

  test("Resident memory near the container's limit is reported", () => {
    expect(run({ rss: 95, heapUsed: 10, heapLimit: 100, limit: 100 })).toMatchObject({
      status: "warn",
      summary: "resident memory is at 95 % of the container's limit",
      fix: expect.stringContaining("PRESSURE_MAX_RSS_BYTES"),
    });
  });
});

describe("listening", () => {
  const run = async (isInContainer: boolean, isLoopback: boolean) =>
    listen.run(
      context({
        config: { ...(await load()), isLoopback },
        isInContainer,
        listeners: () => [
          {
            name: "main",
            address: isLoopback ? "::1" : "::",
            port: 3420,
            connections: 0,
            limit: 1,
            limitPerAddress: null,
          },
        ],
      }),
      NO_PROBES,
    );

  test("A listener on loopback inside a container is reported", async () => {
    expect(await run(true, true)).toMatchObject({
      status: "warn",
      summary: expect.stringContaining("[::1]:3420 inside a container"),
      fix: expect.stringContaining("HOST=0.0.0.0"),
    });
    expect(await run(true, false)).toMatchObject({ status: "ok" });
    expect(await run(false, true)).toMatchObject({ status: "ok" });
  });

  test("In a container, the two listeners are reported separately, because one may be reachable from outside", async () => {
    const at = (name: string, address: string, port: number) => ({
      name,
      address,
      port,
      connections: 0,
      limit: 1,
      limitPerAddress: null,
    });
    const of = async (host: string, isLoopback: boolean) =>
      listen.run(
        context({
          config: { ...(await load()), isLoopback: true, managementListener: { host, port: 3421, isLoopback } },
          isInContainer: true,
          listeners: () => [at("main", "127.0.0.1", 3420), at("management", host, 3421)],
        }),
        NO_PROBES,
      );
    const alone = "inside a container, where only programs in the same network can reach it";
    expect(await of("127.0.0.1", true)).toMatchObject({ summary: `the gateway listens on 127.0.0.1:3420 ${alone}` });
    expect(await of("0.0.0.0", false)).toMatchObject({
      status: "warn",
      summary: `/proxy is on 127.0.0.1:3420 ${alone}; /manage is on 0.0.0.0:3421, which may be reachable from outside`,
    });
  });

  test("A container is recognized by the files that container engines create", () => {
    const folder = mkdtempSync(join(tmpdir(), "byteproxy-container-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const mark = join(folder, "mark");
    expect(findContainer([mark])).toBe(false);
    writeFileSync(mark, "");
    expect(findContainer([mark])).toBe(true);
  });
});

describe("hooks", () => {
  const run = async (path: string) =>
    hooks.run(context({ config: await load({}, { MIDDLEWARE_PATH: path }), hooks: undefined }), NO_PROBES);

  test("Without a running gateway the module of the hooks is examined, and not executed", async () => {
    const source = "globalThis.executed = true; export default {}";
    expect(await run(writeHooks(source))).toMatchObject({ status: "ok", fix: null });
    expect(await run("/nowhere/hooks.mjs")).toMatchObject({
      status: "fail",
      summary: expect.stringContaining("the hooks in /nowhere/hooks.mjs cannot be used: there is no such file"),
    });
    expect(globalThis).not.toHaveProperty("executed");
  });
});

describe("probes", () => {
  test("Each upstream is probed once, and at most 32 at the same time", async () => {
    let now = 0;
    let most = 0;
    const probed: string[] = [];
    const probe = async (key: string) => {
      probed.push(key);
      most = Math.max(most, ++now);
      for (let turn = 0; turn < 40; turn++) await setImmediate();
      now--;
      return { service: key } as ProbeOutcome;
    };
    const keys = Array.from({ length: 500 }, (_, i) => `s${i}`);
    const probes = startProbes(keys, probe, 4_000);
    expect((await probes.all()).map(({ service }) => service)).toEqual(keys);
    expect(await probes.of("s7")).toEqual({ service: "s7" });
    expect(await probes.of("unknown")).toBeUndefined();
    expect([...probed].sort()).toEqual([...keys].sort());
    expect(most).toBe(32);
  });

  test("No two probes start in the same turn of the event loop, because each may open a TLS connection", async () => {
    let turn = 0;
    let isOver = false;
    void (async () => {
      while (!isOver) {
        await setImmediate();
        turn++;
      }
    })();
    const turns: number[] = [];
    const probe = async (key: string) => {
      turns.push(turn);
      return { service: key } as ProbeOutcome;
    };
    await startProbes(["a", "b", "c", "d"], probe, 4_000).all();
    isOver = true;
    expect(new Set(turns).size).toBe(4);
  });

  test("No probe starts after the time limit", async () => {
    const probes = startProbes(["a"], () => Promise.reject(new Error("must not be probed")), 100);
    expect(await probes.all()).toEqual([]);
  });
});

test("A check that throws produces a result that does not contain the error", async () => {
  const failed: string[] = [];
  const broken = context({
    config: await load(),
    warnings: [],
    isInContainer: false,
    stateFolder: undefined,
    services: () => [],
    load: () => {
      throw new TypeError("a secret");
    },
    memory: () => ({ rss: 1, heapUsed: 1, heapLimit: 100, limit: null }),
    listeners: () => [],
    refusals: () => Promise.reject(new Error("a secret")),
    refusedKeys: () => [],
    isProtected: () => true,
    issuedKeys: async () => [],
    issuedKeyCount: () => 0,
    certificate: () => undefined,
    keyRefusals: () => [],
    keysAtLimit: async () => [],
    budgets: async () => [],
    refusedOrigins: new Map(),
    logger: {
      error: (line: { check: string }) => failed.push(line.check),
      recentErrors: () => [],
    } as unknown as DiagnosticsContext["logger"],
    monitor: {
      sample: { eventLoopDelay: 0, heapUsed: 0, rssBytes: 0, eventLoopUtilized: 0 },
      pressure: undefined,
      thresholds: settingsSchema.parse({}),
    },
    checkForUpdate: async () => ({ current: "1", latest: null, updateAvailable: null, checkedAt: null }),
  });
  const diagnostics = await createDiagnostics(broken)();
  expect(diagnostics.checks.find(({ id }) => id === "config")).toMatchObject({
    status: "warn",
    summary: "the check failed; the log has the cause",
    fix: UNFINISHED.broken.fix,
  });
  expect(JSON.stringify(diagnostics)).not.toContain("a secret");
  expect(failed).toEqual(["config", "pressure"]);
});

test("Every check has a unique id, and a symptom and a fix for each finding", () => {
  const all = [...CHECKS, ...SERVICE_CHECKS];
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  for (const { findings, inspects } of all) {
    expect(inspects).toMatch(/\S/);
    for (const { symptom, fix } of Object.values(findings)) expect([symptom, fix].join()).toMatch(/\S/);
  }
});
