/** The journal: entries newest first, over restarts and crashes, within its limit. */
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openFileJournal } from "../../src/stores/journal.ts";
import { tempFolder } from "../config/temp-folder.ts";

const linesOf = (path: string) => readFileSync(path, "utf8").split("\n").filter(Boolean).length;

test("A journal keeps its entries over a restart, newest first, readable by the owner only", async () => {
  const path = join(tempFolder(), "audit.jsonl");
  const journal = openFileJournal<number>(path);
  await Promise.all([1, 2, 3].map((entry) => journal.append(entry)));
  await journal.close();
  expect(journal.newest(2)).toEqual([3, 2]);
  expect(openFileJournal<number>(path).newest(10)).toEqual([3, 2, 1]);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("A full journal drops its oldest entries, in memory and on the disk", async () => {
  const path = join(tempFolder(), "audit.jsonl");
  let journal = openFileJournal<number>(path, 10);
  for (let i = 0; i < 57; i++) {
    await journal.append(i);
    expect(linesOf(path)).toBeLessThanOrEqual(20);
    if (i % 13 === 0) journal = openFileJournal<number>(path, 10);
  }
  expect(journal.newest(100)).toEqual([56, 55, 54, 53, 52, 51, 50, 49, 48, 47]);
  expect(openFileJournal<number>(path, 10).newest(3)).toEqual([56, 55, 54]);
});

test("A journal drops the line that a crash cut short, and no other", async () => {
  const path = join(tempFolder(), "audit.jsonl");
  await openFileJournal<number>(path).append(1);
  appendFileSync(path, '{"half":');
  const journal = openFileJournal<number>(path);
  expect(journal.newest(10)).toEqual([1]);
  await journal.append(2);
  expect(readFileSync(path, "utf8")).toBe("1\n2\n");
});

test("A journal with unreadable lines keeps the others, reports how many are unreadable, and copies the file", async () => {
  const path = join(tempFolder(), "audit.jsonl");
  const text = "1\ngarbage\n3\n";
  writeFileSync(path, text);
  const journal = openFileJournal<number>(path);
  expect([journal.newest(10), journal.damagedLines]).toEqual([[3, 1], 1]);
  await journal.append(4);
  expect(readFileSync(`${path}.damaged`, "utf8")).toBe(text);
});

test("A journal rejects an entry that cannot be written, and works again when the file is writable", async () => {
  const path = join(tempFolder(), "audit.jsonl");
  mkdirSync(path);
  expect(() => openFileJournal(path)).toThrow(/EISDIR/);
  rmSync(path, { recursive: true });
  const journal = openFileJournal<number>(path);
  await journal.append(1);
  rmSync(path);
  mkdirSync(path);
  await expect(journal.append(2)).rejects.toThrow(/EISDIR/);
  rmSync(path, { recursive: true });
  await journal.append(3);
  expect(journal.newest(10)).toEqual([3, 1]);
});
