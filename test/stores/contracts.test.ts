/** Every kind of store under the suite of its contract. */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type ClaimRecord, createClaims } from "../../src/stores/claims.ts";
import { openFileLedger } from "../../src/stores/file-ledger.ts";
import { openFileRecords } from "../../src/stores/file-records.ts";
import { createLedger } from "../../src/stores/ledger.ts";
import { createRecords } from "../../src/stores/records.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { describeClaims } from "../contracts/claims.ts";
import { describeLedger } from "../contracts/ledger.ts";
import { describeRecords, type Thing } from "../contracts/records.ts";

const newPath = () => join(tempFolder(), "state.json");
const isAny = <T>(value: unknown): value is T => value !== undefined;
const ledgerOptions = () => ({
  path: newPath(),
  onFailure: (error: unknown) => {
    throw error;
  },
});

describeRecords("memory", () => createRecords());
describeRecords("file", () => openFileRecords<Thing>(newPath(), isAny));
describeClaims("memory", () => createClaims(createRecords<ClaimRecord<string>>()));
describeClaims("file", () => createClaims(openFileRecords<ClaimRecord<string>>(newPath(), isAny)));
describeLedger("memory", () => createLedger());
describeLedger("file", () => {
  const ledger = openFileLedger(ledgerOptions());
  onTestFinished(() => ledger.close());
  return ledger;
});

describe("claims", () => {
  test("that nobody asks for again do not stay", async () => {
    const records = createRecords<ClaimRecord<string>>();
    const claims = createClaims(records);
    for (let i = 0; i < 200; i++) {
      const { fence } = (await claims.claim(`k${i}`, 10, i)) as { fence: number };
      await claims.finish(`k${i}`, fence, { value: "x", keepMs: 10 }, i);
    }
    expect(records.entries.size).toBeLessThan(50);
  });

  test("that are done make room at the bound, those that are pending do not", async () => {
    const records = createRecords<ClaimRecord<string>>();
    const claims = createClaims(records, 3);
    const first = (await claims.claim("first", 1_000, 0)) as { fence: number };
    const { fence } = (await claims.claim("done", 1_000, 0)) as { fence: number };
    await claims.finish("done", fence, { value: "x", keepMs: 1_000 }, 0);
    await claims.claim("third", 1_000, 0);
    await claims.claim("fourth", 1_000, 0);
    expect([...records.entries.keys()].sort()).toEqual(["first", "fourth", "third"]);
    expect(await claims.finish("first", first.fence, { value: "y", keepMs: 1_000 }, 0)).toBe(true);
  });
});

describe("a ledger", () => {
  const account = { limit: 5, remaining: 0, resetsAt: Date.now() + 60_000 };

  async function exhaust(ledger: ReturnType<typeof createLedger>, key: string, resetsAt: number): Promise<void> {
    const { id } = (await ledger.reserve(key, 1, 1_000, 0)) as { id: string };
    await ledger.settle(key, id, { ...account, resetsAt }, 0);
  }

  test("knows after a restart that a quota is exhausted, and forgets it when its window is over", async () => {
    const options = ledgerOptions();
    const before = openFileLedger(options);
    const { id } = (await before.reserve("k", 1, 1_000, Date.now())) as { id: string };
    await before.settle("k", id, account, Date.now());
    await before.close();
    const after = openFileLedger(options);
    expect(await after.reserve("k", 1, 1_000, Date.now())).toEqual({ isGranted: false, resetsAt: account.resetsAt });
    expect(await after.reserve("k", 1, 1_000, account.resetsAt)).toMatchObject({ isGranted: true });
    await after.close();
  });

  test("at its bound lets go of what is over, then of what was used the longest ago, never of what is in flight", async () => {
    const ledger = createLedger({ limit: 3 });
    await ledger.reserve("flying", 1, 1_000, 0);
    await exhaust(ledger, "over", 50);
    await exhaust(ledger, "old", 10_000);
    await exhaust(ledger, "new", 10_000);
    expect((await ledger.list(60)).map(({ key }) => key)).toEqual(["old", "new"]);
    await ledger.reserve("newest", 1, 1_000, 60);
    expect((await ledger.list(60)).map(({ key }) => key)).toEqual(["new"]);
  });
});
