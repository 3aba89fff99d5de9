/** Two processes never share a DATA_DIR, and a dead process does not keep it locked. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { DataDirInUse, lockDataDir } from "../../src/stores/data-dir-lock.ts";
import { builtMain } from "../support/built.ts";

function folder(...below: string[]): string {
  const root = mkdtempSync(join(tmpdir(), "byteproxy-lock-"));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  const path = join(root, ...below);
  mkdirSync(path, { recursive: true });
  return path;
}

test.each([[[]], [["a".repeat(60), "b".repeat(60)]]])(
  "A locked folder is refused until its lock is released",
  async (below) => {
    const path = folder(...below);
    const first = await lockDataDir(path);
    await expect(lockDataDir(path)).rejects.toThrow(DataDirInUse);
    await expect(lockDataDir(path)).rejects.toThrow(`(process ${process.pid})`);
    await first.release();
    expect(existsSync(join(path, "lock"))).toBe(false);
    const second = await lockDataDir(path);
    await second.release();
  },
);

test("A killed process does not keep the folder locked", async () => {
  const path = folder();
  const module = join(dirname(builtMain), "stores/data-dir-lock.js");
  const script = `import { lockDataDir } from ${JSON.stringify(module)}; await lockDataDir(${JSON.stringify(path)}); console.log("locked"); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  await once(child.stdout, "data");
  await expect(lockDataDir(path)).rejects.toThrow(`(process ${child.pid})`);
  child.kill("SIGKILL");
  await once(child, "exit");
  expect(existsSync(join(path, "lock"))).toBe(true);
  const lock = await lockDataDir(path);
  await lock.release();
});

test("Of several processes that take over from a dead one at the same time, exactly one gets the lock", async () => {
  const path = folder();
  const module = join(dirname(builtMain), "stores/data-dir-lock.js");
  const script = `import { lockDataDir } from ${JSON.stringify(module)}; await lockDataDir(${JSON.stringify(path)}); process.kill(process.pid, "SIGKILL");`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  await once(child, "exit");
  expect(existsSync(join(path, "lock"))).toBe(true);
  const outcomes = await Promise.allSettled(Array.from({ length: 5 }, () => lockDataDir(path)));
  const holders = outcomes.filter((outcome) => outcome.status === "fulfilled");
  expect(holders).toHaveLength(1);
  for (const { value } of holders) await value.release();
});
