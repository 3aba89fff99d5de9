/** Claims in a file: over restarts, crashes and a full disk, in bounded memory and with a bounded file. */
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ClaimTable, createClaims, type KeptResponse } from "../../src/stores/claims.ts";
import { type FileClaimsOptions, openFileClaims } from "../../src/stores/claims-file.ts";
import { tempFolder } from "../config/temp-folder.ts";

const response = (body: string | Buffer): KeptResponse => ({
  status: 200,
  reason: "OK",
  headers: { "content-type": "application/octet-stream", link: ["<a>", "<b>"] },
  body: Buffer.from(body),
});

function optionsOf(path: string, now = 0, slackBytes = 1_000_000) {
  const failures: unknown[] = [];
  const options: FileClaimsOptions = { path, now, slackBytes, onFailure: (error) => failures.push(error) };
  return { options, failures };
}

async function win(claims: ReturnType<typeof createClaims>, key: string, until = 1_000_000, now = 0): Promise<number> {
  const claimed = await claims.claim({ key, owner: key, request: `request of ${key}`, until }, now);
  if (claimed.state !== "won") throw new Error(`${key} is ${claimed.state}`);
  return claimed.fence;
}

test("Claims outlive the process in every state, in a file that only its owner can read", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  const before = openFileClaims(optionsOf(path).options);
  await win(before, "pending");
  await before.release("released", await win(before, "released"), 1);
  const body = Buffer.from([0, 10, 255, 34, 13]);
  const kept = response(body);
  await before.complete("done", await win(before, "done"), { response: kept, until: 50_000 }, 1);
  await before.complete("large", await win(before, "large"), { response: undefined, until: 50_000 }, 1);
  await win(before, "over", 900);
  // Each change is in the queue of the file, without waiting for the end of the process.
  await before.close();
  expect(statSync(path).mode & 0o777).toBe(0o600);
  const after = openFileClaims(optionsOf(path, 1_000).options);
  expect(await after.find("pending", 1_000)).toEqual({
    state: "pending",
    request: "request of pending",
    until: 1_000_000,
  });
  expect(await after.find("done", 1_000)).toMatchObject({ state: "done", response: kept });
  expect(await after.find("large", 1_000)).toMatchObject({ state: "done", response: undefined });
  for (const key of ["released", "over"]) expect(await after.find(key, 1_000)).toBeUndefined();
  expect(after.damagedLines).toBe(0);
  const fences = [await win(after, "released", 2_000, 1_000), await win(after, "over", 2_000, 1_000)];
  expect(new Set(fences).size).toBe(2);
  await after.close();
});

test("A claim is in the file before it is granted", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  const claims = openFileClaims(optionsOf(path).options);
  await Promise.all(
    Array.from({ length: 50 }, async (_, i) => {
      await win(claims, `k${i}`);
      expect(readFileSync(path, "utf8")).toContain(`"k":"k${i}"`);
    }),
  );
  await claims.close();
});

test("A line that a crash cut short is dropped, and other unreadable lines are counted and copied", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  const before = openFileClaims(optionsOf(path).options);
  await win(before, "a");
  await before.close();
  appendFileSync(path, '{"k":"torn"');
  const torn = openFileClaims(optionsOf(path).options);
  expect(torn.damagedLines).toBe(0);
  await win(torn, "b");
  await torn.close();
  const after = openFileClaims(optionsOf(path).options);
  // The torn line was ended by the next write, and is not the beginning of its line.
  expect([after.damagedLines, await after.find("b", 1)]).toMatchObject([1, { state: "pending" }]);
  expect(readFileSync(`${path}.damaged`, "utf8")).toContain("torn");
  for (const text of ["[]", '{"k":1,"f":1}', '{"k":"x","f":1,"o":"","q":""}', '{"k":"x","f":1,"x":1}']) {
    writeFileSync(path, `${text}\n`);
    expect(openFileClaims(optionsOf(path).options).usage(1).claims, text).toBe(0);
  }
});

test("A full disk refuses a claim and grants it as soon as there is room; a result without its line stays pending", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  const { options, failures } = optionsOf(path);
  const claims = openFileClaims(options);
  const done = await win(claims, "done");
  const text = readFileSync(path);
  rmSync(path);
  symlinkSync("/dev/full", path);
  await expect(win(claims, "refused")).rejects.toMatchObject({ code: "ENOSPC" });
  expect(await claims.find("refused", 1)).toBeUndefined();
  await claims.complete("done", done, { response: response("lost"), until: 9_000 }, 1);
  await claims.close();
  expect(failures).toMatchObject([{ code: "ENOSPC" }]);
  rmSync(path);
  writeFileSync(path, text, { mode: 0o600 });
  await win(claims, "refused");
  await claims.close();
  const after = openFileClaims(optionsOf(path).options);
  expect(await after.find("done", 1)).toMatchObject({ state: "pending" });
  expect(await after.find("refused", 1)).toMatchObject({ state: "pending" });
});

test("The file is rewritten when most of it is out of date, and claims during the rewrite are kept", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  const { options, failures } = optionsOf(path, 0, 20_000);
  const claims = openFileClaims(options);
  let largest = 0;
  for (let round = 0; round < 30; round++) {
    const now = round * 60_000;
    const keys = Array.from({ length: 10 }, (_, i) => `k${round}-${i}`);
    await Promise.all(
      keys.map(async (key) => {
        const fence = await win(claims, key, now + 60_000, now);
        await claims.complete(key, fence, { response: response("x".repeat(500)), until: now + 60_000 }, now);
      }),
    );
    largest = Math.max(largest, statSync(path).size);
  }
  await claims.close();
  expect(failures).toEqual([]);
  // 300 claims with their results are about 360,000 bytes.
  expect(largest).toBeLessThan(100_000);
  const after = openFileClaims(optionsOf(path, 29 * 60_000).options);
  for (let i = 0; i < 10; i++) {
    expect(await after.find(`k29-${i}`, 29 * 60_000)).toMatchObject({
      response: { body: Buffer.from("x".repeat(500)) },
    });
  }
});

test("A file that cannot be rewritten goes on growing, keeps every claim, and is not rewritten with each line", async () => {
  const path = join(tempFolder(), "claims.jsonl");
  mkdirSync(join(`${path}.tmp`, "in-the-way"), { recursive: true });
  const { options, failures } = optionsOf(path, 0, 1_000);
  const claims = openFileClaims(options);
  for (let i = 0; i < 100; i++) await win(claims, `k${i}`);
  await claims.close();
  expect(failures.length).toBeGreaterThan(0);
  expect(failures.length).toBeLessThan(8);
  expect(openFileClaims(optionsOf(path).options).usage(0).claims).toBe(100);
});

test("100,000 claims take at most 100 MB of memory and are dropped after their end", async () => {
  const claims = createClaims(new ClaimTable({ claims: 200_000, bytes: 1_000_000 }));
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 100_000; i++) {
    const key = i.toString(16).padStart(32, "0");
    const owner = `caller ${i % 50}`;
    const claimed = await claims.claim({ key, owner, request: key.repeat(3), until: 60_000 }, 0);
    if (claimed.state === "won")
      await claims.complete(key, claimed.fence, { response: response(key), until: 60_000 }, 0);
  }
  expect(claims.usage(0).claims).toBe(100_000);
  expect(claims.usage(0).bytes).toBeLessThanOrEqual(1_000_000);
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
  for (let i = 0; i < 25; i++) claims.usage(120_000);
  expect(claims.usage(120_000)).toMatchObject({ claims: 0, bytes: 0 });
});
