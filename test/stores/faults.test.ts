/**
 * The process killed, and the disk failing, at each step of a save: at the file's opening, each write, each fsync, the rename.
 * strace injects the faults; Debian has it as `strace`.
 */
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { openFileRecords } from "../../src/stores/records.ts";

const hasStrace = (() => {
  try {
    execFileSync("strace", ["-qq", "-o", "/dev/null", "true"], { stdio: "ignore" });
    return true;
  } catch {
    console.warn(
      "skipped: faults at each step of a save; they need the Debian package strace, and leave to trace a process",
    );
    return false;
  }
})();

// Of all the tests, because they run at the same time.
const root = mkdtempSync(join(tmpdir(), "byteproxy-faults-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const isText = (value: unknown): value is string => typeof value === "string";
const module = join(import.meta.dirname, "../../src/stores/records.ts");

/** Puts three records, one after the other, and says after each what came of it and what is in memory. */
const SCRIPT = `
import { existsSync, readFileSync } from "node:fs";
import { openFileRecords } from ${JSON.stringify(module)};
const records = openFileRecords(process.argv[2], (value): value is string => typeof value === "string");
for (const [key, value] of [["a", "1"], ["b", "x".repeat(200_000)], ["c", "3"]]) {
  const outcome = await records.put(key, value).then(() => "ok", (error) => error.code);
  const look = () => ({
    disk: Object.keys(JSON.parse(readFileSync(process.argv[2], "utf8")).entries),
    isClean: !existsSync(process.argv[2] + ".tmp"),
  });
  console.log(JSON.stringify({ key, outcome, memory: [...records.entries.keys()], ...(key === "b" ? look() : {}) }));
}
`;

interface Step {
  readonly key: string;
  readonly outcome: string;
  readonly memory: readonly string[];
  /** Behind the second one, the one that is hit. */
  readonly disk?: readonly string[];
  /** Nothing is left beside the file. */
  readonly isClean?: boolean;
}

/** @param inject strace's words for a fault of the calls on the file, the one beside it, and the folder. */
async function run(inject: string): Promise<{ path: string; steps: Step[]; wasKilled: boolean }> {
  const folder = mkdtempSync(join(root, "run-"));
  const path = join(folder, "data.json");
  const script = join(folder, "script.mts");
  writeFileSync(script, SCRIPT);
  const call = inject.split(":", 1)[0];
  const child = spawn(
    "strace",
    [
      ...["-f", "-qq", "-o", "/dev/null", "-P", path, "-P", `${path}.tmp`, "-P", folder],
      ...["-e", `trace=${call}`, "-e", `inject=${inject}`],
      ...[process.execPath, "--import", import.meta.resolve("tsx"), script, path],
      // strace counts the calls of each thread by itself: one thread makes them all.
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

// The second put is the one that is hit. It makes two writes, and like each save opens, syncs and closes the file and the folder.
const STEPS = [
  ["openat", 4],
  ["write", 2],
  ["write", 3],
  ["fsync", 3],
  ["fsync", 4],
  ["close", 3],
  ["rename", 2],
] as const;

describe.skipIf(!hasStrace)("a save", () => {
  test.concurrent.each(STEPS)(
    "killed at its %s (number %i) leaves the state before or after, whole",
    async (call, nth) => {
      const { path, steps, wasKilled } = await run(`${call}:signal=SIGKILL:when=${nth}`);
      expect(wasKilled).toBe(true);
      // Nothing that was answered for is lost, nothing that was not begun is there.
      const answered = steps.filter(({ outcome }) => outcome === "ok").map(({ key }) => key);
      expect(answered[0]).toBe("a");
      expect([["a"], ["a", "b"]]).toContainEqual(onDisk(path));
      expect(onDisk(path)).toEqual(expect.arrayContaining(answered));
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
    "whose %s (number %i) fails with %s is refused; memory and disk keep the state before",
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
