import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createKeyUsage, openKeyUsage } from "../../src/callers/key-usage.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";

const onFailure = (error: unknown) => {
  throw error;
};

describe("key usage", () => {
  test("Uses are counted by key, with the time of the last one", () => {
    const usage = createKeyUsage();
    expect(usage.of("a")).toBeUndefined();
    usage.note("a", 5);
    usage.note("a", 7);
    usage.note("b", 6);
    expect(usage.of("a")).toEqual({ uses: 2, lastUsedAt: 7 });
    expect(usage.of("b")).toEqual({ uses: 1, lastUsedAt: 6 });
    usage.keepOnly((id) => id === "b");
    expect([...usage.entries()].map(([id]) => id)).toEqual(["b"]);
  });

  test("Usage is written to a file at intervals and at the end, and restored at the start", async () => {
    const path = join(tempFolder(), "usage.json");
    const before = openKeyUsage({ path, onFailure, saveIntervalMs: 10 });
    before.note("a", 5);
    expect(existsSync(path)).toBe(false);
    await eventually(() => existsSync(path) && readFileSync(path, "utf8").includes('"uses":1'));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    before.note("a", 9);
    await before.close();
    const after = openKeyUsage({ path, onFailure });
    expect(after.of("a")).toEqual({ uses: 2, lastUsedAt: 9 });
    after.note("a", 11);
    await after.close();
    expect(openKeyUsage({ path, onFailure }).of("a")).toEqual({ uses: 3, lastUsedAt: 11 });
  });

  test("A usage file that cannot be read stops the start", () => {
    const path = join(tempFolder(), "usage.json");
    writeFileSync(path, '{"format":1,"revision":1,"entries":{"a":{"uses":"many","lastUsedAt":1}}}');
    expect(() => openKeyUsage({ path, onFailure })).toThrow(/the entry "a" is malformed/);
  });

  test("Noting a use takes almost no time", () => {
    const usage = openKeyUsage({ path: join(tempFolder(), "usage.json"), onFailure, saveIntervalMs: 60_000 });
    const startedAt = performance.now();
    for (let i = 0; i < 200_000; i++) usage.note("a", i);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
