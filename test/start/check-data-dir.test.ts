/** Which folders and files of DATA_DIR the gateway trusts. */
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { checkDataDir } from "../../src/start/check-data-dir.ts";

const OWN_UID = process.geteuid?.() ?? 0;

function folder(mode = 0o700): string {
  const path = mkdtempSync(join(tmpdir(), "byteproxy-data-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  chmodSync(path, mode);
  return path;
}

const modeOf = (path: string) => statSync(path).mode & 0o777;

test("A new folder, its parents included, has mode 0700", () => {
  const path = join(folder(), "a", "b");
  expect(checkDataDir(path)).toEqual([]);
  expect([modeOf(path), modeOf(join(path, ".."))]).toEqual([0o700, 0o700]);
});

test.each([0o700, 0o750, 0o755])("A folder that only its owner may write is left as it is: %o", (mode) => {
  const path = folder(mode);
  writeFileSync(join(path, "keys.json"), "{}", { mode: 0o644 });
  expect(checkDataDir(path)).toEqual([]);
  expect(modeOf(path)).toBe(mode);
});

test.each([0o777, 0o1777, 0o702, 0o772])("A folder that every user may write is refused: %o", (mode) => {
  const path = folder(mode);
  expect(() => checkDataDir(path)).toThrow(/can be written by every user \(mode 0\d{3}\), .* run chmod 700 on it/);
  expect(modeOf(path)).toBe(mode & 0o777);
});

test.each([
  "keys.json",
  "services.json",
  "audit.jsonl",
  "installation-key",
  "usage.json",
  "quota.json",
  "claims.jsonl",
])("A file that every user may write is refused: %s", (name) => {
  const path = folder();
  writeFileSync(join(path, name), "{}");
  chmodSync(join(path, name), 0o666);
  expect(() => checkDataDir(path)).toThrow(/^The file \S+ can be written by every user \(mode 0666\), .* chmod 600/);
});

test("What its group may write becomes private, with a warning for each", () => {
  const path = folder(0o2770);
  writeFileSync(join(path, "keys.json"), "{}");
  chmodSync(join(path, "keys.json"), 0o664);
  expect(checkDataDir(path)).toEqual([
    `DATA_DIR ${path} could be written by its group (mode 0770); its mode is 0700 now`,
    `The file ${join(path, "keys.json")} could be written by its group (mode 0664); its mode is 0600 now`,
  ]);
  expect([modeOf(path), modeOf(join(path, "keys.json"))]).toEqual([0o700, 0o600]);
  expect(checkDataDir(path)).toEqual([]);
});

test("A folder that belongs to another user is refused, whatever its mode is", () => {
  expect(() => checkDataDir(folder(), OWN_UID + 1)).toThrow(
    `belongs to another user (uid ${OWN_UID}, this process has ${OWN_UID + 1})`,
  );
});

test.skipIf(OWN_UID !== 0)("A file, or a symbolic link, that belongs to another user is refused", async () => {
  const { chownSync, lchownSync } = await import("node:fs");
  const path = folder();
  const file = join(path, "keys.json");
  writeFileSync(file, "{}", { mode: 0o600 });
  chownSync(file, 65_534, 65_534);
  expect(() => checkDataDir(path)).toThrow(/^The file \S+keys\.json belongs to another user \(uid 65534/);
  rmSync(file);
  symlinkSync("/nonexistent", file);
  lchownSync(file, 65_534, 65_534);
  expect(() => checkDataDir(path)).toThrow(/belongs to another user/);
});

test("A file of another name is no state of the gateway, and is not checked", () => {
  const path = folder();
  writeFileSync(join(path, "notes.txt"), "");
  chmodSync(join(path, "notes.txt"), 0o666);
  expect(checkDataDir(path)).toEqual([]);
  expect(existsSync(join(path, "keys.json"))).toBe(false);
});
