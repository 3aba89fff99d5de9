/** State files: a confirmed change survives a restart, and an unreadable file never counts as empty. */
import { execFile } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import type { Records } from "../../src/stores/records.ts";
import { openFileRecords } from "../../src/stores/records.ts";
import { openPeriodicFile, readState, StateFileUnusable } from "../../src/stores/state-file.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";

const run = promisify(execFile);
const isText = (value: unknown): value is string => typeof value === "string";
const open = (path: string): Records<string> => openFileRecords(path, isText);

describe("file of records", () => {
  test("Each change is in the file, readable by the owner only, and is read back with its version", async () => {
    const path = join(tempFolder(), "services.json");
    const records = open(path);
    expect(existsSync(path)).toBe(false);
    await records.put("a", "one");
    await records.put("__proto__", "ä\u2028\n");
    const last = await records.put("b", "two");
    await records.delete("b");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(existsSync(`${path}.tmp`)).toBe(false);
    const again = open(path);
    expect([...again.entries]).toEqual([...records.entries]);
    expect((await again.put("b", "three")).version).toBeGreaterThan(last.version);
  });

  test("An incomplete, empty, foreign or newer file stops the start with a message that says what to do", () => {
    const path = join(tempFolder(), "services.json");
    const whole = '{"format":1,"revision":1,"entries":{\n"a":{"value":"x","version":1}\n}}\n';
    writeFileSync(path, whole);
    expect(open(path).entries.size).toBe(1);
    const bad: [string | Buffer, RegExp][] = [
      ["", /it is empty/],
      [whole.slice(0, 40), /not JSON, or only a part of it/],
      [Buffer.from([0xff, 0xfe, 0x00]), /not UTF-8/],
      ["[]", /not the gateway's/],
      ["null", /not the gateway's/],
      ['{"services":{}}', /not the gateway's/],
      ['{"format":2,"revision":1,"entries":{}}', /a newer version of the gateway wrote it/],
      ['{"format":1,"revision":1}', /a part of it is missing/],
      ['{"format":1,"revision":1,"entries":[]}', /a part of it is missing/],
      ['{"format":1,"revision":1,"entries":{"a":"x"}}', /the entry "a" is malformed/],
      ['{"format":1,"revision":1,"entries":{"a":{"value":1,"version":1}}}', /the entry "a" is malformed/],
    ];
    for (const [text, reason] of bad) {
      writeFileSync(path, text);
      expect(() => open(path), String(text)).toThrow(StateFileUnusable);
      expect(() => open(path)).toThrow(reason);
      expect(() => open(path)).toThrow(/put back a copy of it, or move it away/);
      expect(readFileSync(path)).toEqual(Buffer.from(text));
    }
    const link = join(tempFolder(), "services.json");
    symlinkSync("gone.json", link);
    expect(() => open(link)).toThrow(/a link to a file that does not exist; put back a copy of it/);
    mkdirSync(join(tempFolder(), "folder.json"), { recursive: true });
    expect(() => open(join(tempFolder(), "no", "such", "folder.json"))).not.toThrow();
  });

  test("A temporary file that a crash left is removed", async () => {
    const path = join(tempFolder(), "services.json");
    writeFileSync(`${path}.tmp`, "half of something", { mode: 0o644 });
    await open(path).put("a", "one");
    expect(existsSync(`${path}.tmp`)).toBe(false);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("A change is refused when the folder is not writable; memory and disk agree, and the next change works", async () => {
    const folder = tempFolder();
    const path = join(folder, "state", "services.json");
    mkdirSync(join(folder, "state"));
    const records = open(path);
    await records.put("a", "one");
    const before = readFileSync(path, "utf8");
    // A folder with the name of the temporary file makes the write fail for root too, unlike file permissions.
    mkdirSync(`${path}.tmp/x`, { recursive: true });
    const outcomes = await Promise.allSettled([
      records.put("b", "two"),
      records.put("a", "three"),
      records.delete("a"),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect([...records.entries.keys()]).toEqual(["a"]);
    expect(records.entries.get("a")?.value).toBe("one");
    expect(readFileSync(path, "utf8")).toBe(before);
    chmodSync(`${path}.tmp`, 0o700);
    await run("rm", ["-r", `${path}.tmp`]);
    await records.put("b", "two");
    expect([...open(path).entries.keys()]).toEqual(["a", "b"]);
  });

  test("A write that the disk cuts short is a failure, and the file stays complete", async () => {
    const folder = tempFolder();
    const path = join(folder, "services.json");
    const script = join(folder, "script.mts");
    // A limit on the file size cuts a write(2) short as a full disk does, for any user.
    writeFileSync(
      script,
      `import { openFileRecords } from ${JSON.stringify(join(import.meta.dirname, "../../src/stores/records.ts"))};
       process.on("SIGXFSZ", () => {});
       const records = openFileRecords(${JSON.stringify(path)}, (value): value is string => typeof value === "string");
       await records.put("a", "one");
       const error = await records.put("b", "x".repeat(300_000)).catch((error) => error);
       console.log(error.code, [...records.entries.keys()].join());
       await records.put("c", "two");`,
    );
    const tsx = join(import.meta.dirname, "../../node_modules/.bin/tsx");
    const { stdout } = await run("bash", ["-c", `ulimit -f 100; exec "${tsx}" "${script}"`]);
    expect(stdout.trim()).toBe("EFBIG a");
    expect([...open(path).entries].map(([key, { value }]) => [key, value])).toEqual([
      ["a", "one"],
      ["c", "two"],
    ]);
  });

  test("Saving 50,000 records blocks the event loop for at most 5 ms", async () => {
    const path = join(tempFolder(), "services.json");
    const entry = (i: number) => `"k${i}":{"value":"${"x".repeat(250)}","version":1}`;
    const entries = Array.from({ length: 50_000 }, (_, i) => entry(i)).join(",");
    writeFileSync(path, `{"format":1,"revision":1,"entries":{${entries}}}`);
    const records = open(path);
    // Other processes on the machine cause delays now and then, but not in every one of many rounds.
    let shortest = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 20 && shortest >= 5; round++) {
      shortest = Math.min(shortest, await longestWaitDuring(() => records.put("k1", `v${round}`)));
    }
    expect(shortest).toBeLessThan(5);
    expect(open(path).entries.size).toBe(50_000);
  }, 30_000);
});

/** The longest time that the event loop was blocked, ms. */
async function longestWaitDuring(work: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  let isOver = false;
  const measure = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(measure);
  };
  setImmediate(measure);
  await work();
  isOver = true;
  return longest;
}

describe("file written at intervals", () => {
  const settings = (path: string, failures: unknown[] = []) => ({
    path,
    intervalMs: 5,
    onFailure: (error: unknown) => failures.push(error),
  });

  test("The file is written after a change, once for several changes, and at the end", async () => {
    const path = join(tempFolder(), "usage.json");
    let count = 0;
    const file = openPeriodicFile({ ...settings(path), entries: () => [["k", count]] });
    await file.close();
    expect(existsSync(path)).toBe(false);
    for (count = 1; count < 100; count++) file.touch();
    await eventually(() => existsSync(path), "the file");
    const isNumber = (value: unknown): value is number => typeof value === "number";
    expect([...(readState(path, isNumber)?.entries ?? [])]).toEqual([["k", 100]]);
    count = 7;
    file.touch();
    await file.close();
    expect([...(readState(path, isNumber)?.entries ?? [])]).toEqual([["k", 7]]);
  });

  test("Writes that take longer than an interval do not overlap, and the file is complete", async () => {
    const path = join(tempFolder(), "usage.json");
    const failures: unknown[] = [];
    const many = Array.from({ length: 30_000 }, (_, i): [string, number] => [`k${i}`, i]);
    const file = openPeriodicFile({ ...settings(path, failures), intervalMs: 1, entries: () => many });
    const end = performance.now() + 300;
    while (performance.now() < end) {
      file.touch();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await file.close();
    expect(failures).toEqual([]);
    expect([...(readState(path, (value): value is number => typeof value === "number")?.entries ?? [])]).toHaveLength(
      30_000,
    );
    expect(existsSync(`${path}.tmp`)).toBe(false);
  });

  test("A failed write is reported and retried", async () => {
    const path = join(tempFolder(), "usage.json");
    mkdirSync(`${path}.tmp/x`, { recursive: true });
    const failures: unknown[] = [];
    const file = openPeriodicFile({ ...settings(path, failures), entries: () => [["k", 1]] });
    file.touch();
    await eventually(() => failures.length > 1, "two failures");
    await run("rm", ["-r", `${path}.tmp`]);
    await eventually(() => existsSync(path), "the file");
    await file.close();
  });
});
