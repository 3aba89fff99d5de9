/** A configuration of 1,000 services is read in time that grows linearly, and requests are served while a reload reads it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { loadConfig } from "../../src/config/load-config.ts";
import { costOf } from "../support/cost.ts";
import { countYields } from "../support/yields.ts";

function folderWith(count: number): string {
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-large-"));
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

describe("A configuration of 1,000 services", () => {
  test("Reading 1,000 services yields to the event loop again and again, and the result is frozen", async () => {
    const options = optionsOf(folderWith(1_000));
    const yields = await countYields(async () => {
      const { services } = await loadConfig(options);
      expect(services.get("s999")).toMatchObject({ baseUrl: "http://example.com/999" });
      expect(Object.isFrozen(services.get("s7")?.auth)).toBe(true);
    });
    expect(yields).toBeGreaterThan(5);
  });

  test("The time to read services that each have a warning grows no faster than their number", async () => {
    const cost = async (count: number) => {
      const options = optionsOf(folderWith(count));
      expect((await loadConfig(options)).warnings.length).toBeGreaterThanOrEqual(count);
      return costOf(() => loadConfig(options));
    };
    const few = await cost(125);
    // Eight times as many.
    expect(await cost(1_000)).toBeLessThan(20 * few + 50);
  });

  test("A misspelt variable is compared with few of the known names", async () => {
    const options = optionsOf(folderWith(1_000));
    const cost = (strange: number) => {
      const lines = Array.from({ length: strange }, (_, i) => `SOME_OTHER_PROGRAMS_${i}=1\n`);
      writeFileSync(join(options.directory, ".env"), lines.join(""));
      return costOf(() => loadConfig(options));
    };
    const without = await cost(0);
    expect(await cost(500)).toBeLessThan(3 * without + 50);
  });

  test("The secret lock compares a service added over REST with few services of the file", async () => {
    const cost = async (count: number) => {
      const { readRuntimeService } = await loadConfig(optionsOf(folderWith(count)));
      const added = (i: number) => ({
        baseUrl: `http://example.com/added-${i}`,
        auth: { type: "bearer", tokenEnvVar: `TOKEN_${i}` },
      });
      return costOf(() => {
        for (let i = 0; i < 50; i++) readRuntimeService(`added-${i}`, added(i));
      }, 20);
    };
    const few = await cost(50);
    // Twenty times as many in the file.
    expect(await cost(1_000)).toBeLessThan(5 * few);
  });
});
