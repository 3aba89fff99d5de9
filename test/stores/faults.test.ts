/**
 * Kills the process, or lets the disk fail, at each step of a save: opening the file, each write, each fsync, the rename.
 * strace (Debian package `strace`) injects the faults.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openFileRecords } from "../../src/stores/records.ts";
import { builtMain } from "../support/built.ts";

const hasStrace = (() => {
  try {
    execFileSync("strace", ["-qq", "-o", "/dev/null", "true"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn(
      "skipped: faults at each step of a save; they need the Debian package strace and permission to trace a process",
    );
    return false;
  }
})();

// One for all tests, because they run concurrently.
const root = mkdtempSync(join(tmpdir(), "byteproxy-faults-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const isText = (value: unknown): value is string => typeof value === "string";
const module = join(dirname(builtMain), "stores/records.js");

/** Puts three records one after another, and prints after each the outcome and the records in memory. */
const SCRIPT = `
import { existsSync, readFileSync } from "node:fs";
import { openFileRecords } from ${JSON.stringify(module)};
const records = openFileRecords(process.argv[2], (value) => typeof value === "string");
for (const [key, value] of [["a", "1"], ["b", "x".repeat(200_000)], ["c", "3"]]) {
  const outcome = await records.put(key, value).then(() => "ok", (error) => error.code);
  const state = () => ({
    disk: Object.keys(JSON.parse(readFileSync(process.argv[2], "utf8")).entries),
    isClean: !existsSync(process.argv[2] + ".tmp"),
  });
  console.log(JSON.stringify({ key, outcome, memory: [...records.entries.keys()], ...(key === "b" ? state() : {}) }));
}
`;

interface Step {
  readonly key: string;
  readonly outcome: string;
  readonly memory: readonly string[];
  /** After the second put, which has the fault. */
  readonly disk?: readonly string[];
  /** No temporary file is left. */
  readonly isClean?: boolean;
}

/** @param inject strace's expression for a fault of a call on the file, the temporary file or the folder. */
async function run(inject: string): Promise<{ path: string; steps: Step[]; wasKilled: boolean }> {
  const folder = mkdtempSync(join(root, "run-"));
  const path = join(folder, "data.json");
  const script = join(folder, "script.mjs");
  writeFileSync(script, SCRIPT);
  const call = inject.split(":", 1)[0];
  const child = spawn(
    "strace",
    [
      ...["-f", "-qq", "-o", "/dev/null", "-P", path, "-P", `${path}.tmp`, "-P", folder],
      ...["-e", `trace=${call}`, "-e", `inject=${inject}`],
      ...[process.execPath, script, path],
      // strace counts the calls of each thread separately, so one thread makes them all.
    ],
    { env: { ...process.env, UV_THREADPOOL_SIZE: "1" } },
  );
  let out = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  await new Promise((resolve) => child.on("close", resolve));
  const steps = out
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Step);
  return { path, steps, wasKilled: steps.length < 3 };
}

const onDisk = (path: string) => [...openFileRecords(path, isText).entries.keys()];

// The second put has the fault. It makes two writes, and like each save opens, syncs and closes the file and the folder.
const STEPS = [
  ["openat", 4],
  ["write", 2],
  ["write", 3],
  ["fsync", 3],
  ["fsync", 4],
  ["close", 3],
  ["rename", 2],
] as const;

describe.skipIf(!hasStrace)("save", () => {
  test.concurrent.each(STEPS)(
    "A save killed at its %s (number %i) leaves the complete state before or after it",
    async (call, nth) => {
      const { path, steps, wasKilled } = await run(`${call}:signal=SIGKILL:when=${nth}`);
      expect(wasKilled).toBe(true);
      // No confirmed change is lost, and no change that was not begun is there.
      const confirmed = steps.filter(({ outcome }) => outcome === "ok").map(({ key }) => key);
      expect(confirmed[0]).toBe("a");
      expect([["a"], ["a", "b"]]).toContainEqual(onDisk(path));
      expect(onDisk(path)).toEqual(expect.arrayContaining(confirmed));
      const records = openFileRecords(path, isText);
      await records.put("later", "x");
      expect(onDisk(path)).toContain("later");
      expect(readdirSync(join(path, ".."))).not.toContain("data.json.tmp");
    },
    20_000,
  );

  test.concurrent.each([
    ...STEPS.map(([call, nth]) => [call, nth, "EIO"] as const),
    ["openat", 4, "EROFS"] as const,
    ["write", 2, "ENOSPC"] as const,
    ["rename", 2, "EACCES"] as const,
  ])(
    "A save with a %s (number %i) that fails with %s is refused; memory and disk keep the state before",
    async (call, nth, code) => {
      const { path, steps } = await run(`${call}:error=${code}:when=${nth}`);
      expect(steps).toEqual([
        { key: "a", outcome: "ok", memory: ["a"] },
        { key: "b", outcome: code, memory: ["a"], disk: ["a"], isClean: true },
        { key: "c", outcome: "ok", memory: ["a", "c"] },
      ]);
      expect(onDisk(path)).toEqual(["a", "c"]);
    },
    20_000,
  );
});
