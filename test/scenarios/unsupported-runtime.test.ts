/** Runtimes that the gateway does not run on. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { findUnsupportedRuntime } from "../../src/unsupported-runtime.ts";
import { builtMain } from "../support/built.ts";

/** Imports the gateway in a process with other versions. */
function startWith(versions: Record<string, string>) {
  const code = `
    for (const [name, value] of Object.entries(${JSON.stringify(versions)})) {
      Object.defineProperty(process.versions, name, { value });
    }
    process.argv[2] = "--version";
    await import(${JSON.stringify(pathToFileURL(builtMain).href)});`;
  return spawnSync(process.execPath, ["--input-type=module", "-e", code, "x"], { encoding: "utf8" });
}

describe("an unsupported runtime", () => {
  test("Bun and an old Node.js are refused with one line that names what is needed", () => {
    expect(startWith({ bun: "1.3.0" })).toMatchObject({
      status: 1,
      stdout: "",
      stderr: expect.stringMatching(/^ByteProxy needs Node\.js 20\.19 or later and does not run on Bun[^\n]*\n$/),
    });
    expect(startWith({ node: "18.20.4" })).toMatchObject({
      status: 1,
      stdout: "",
      stderr: expect.stringMatching(/^ByteProxy needs Node\.js 20\.19 or later; this is 18\.20\.4\.[^\n]*\n$/),
    });
  });

  test("Nothing else is loaded before: such a runtime may not be able to", () => {
    const imports = [...readFileSync(builtMain, "utf8").matchAll(/^import .*from "(.*)";$/gm)].map(([, from]) => from);
    expect(imports).toEqual(["./unsupported-runtime.js"]);
    const runtime = readFileSync(join(dirname(builtMain), "unsupported-runtime.js"), "utf8");
    expect(runtime).not.toMatch(/^import |\bimport\(/m);
  });

  test.each([
    ["20.18.3", true],
    ["20.19.0", false],
    ["21.0.0", false],
    ["24.1.0", false],
    ["8.0.0", true],
  ])("Node.js %s is unsupported: %s", (node, isUnsupported) => {
    expect(findUnsupportedRuntime({ node }) !== undefined).toBe(isUnsupported);
  });

  test("The oldest supported version is the one in package.json", () => {
    const manifest = readFileSync(join(import.meta.dirname, "../../package.json"), "utf8");
    const oldest = (JSON.parse(manifest) as { engines: { node: string } }).engines.node.replace(">=", "");
    const [major, minor = 0] = oldest.split(".").map(Number);
    expect(findUnsupportedRuntime({ node: `${oldest}.0` })).toBeUndefined();
    expect(findUnsupportedRuntime({ node: `${major}.${minor - 1}.9` })).toContain(oldest);
  });
});
