/** Runs each kind of store through the suite of its contract. */
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { ClaimTable, createClaims } from "../../src/stores/claims.ts";
import { openFileClaims } from "../../src/stores/claims-file.ts";
import { createLedger, openFileLedger } from "../../src/stores/ledger.ts";
import { createRecords, openFileRecords } from "../../src/stores/records.ts";
import { createTallies, openFileTallies } from "../../src/stores/tallies.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { describeClaims } from "../contracts/claims.ts";
import { describeLedger } from "../contracts/ledger.ts";
import { describeRecords, type Thing } from "../contracts/records.ts";
import { describeTallies } from "../contracts/tallies.ts";
import { eventually } from "../support/eventually.ts";

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
describeLedger("memory", () => createLedger());
describeLedger("file", () => {
  const ledger = openFileLedger(ledgerOptions());
  onTestFinished(() => ledger.close());
  return ledger;
});
describeClaims("memory", (limits) => createClaims(limits && new ClaimTable(limits)));
describeClaims(
  "file",
  (limits) => {
    const claims = openFileClaims({ ...ledgerOptions(), now: 0, ...(limits === undefined ? {} : { limits }) });
    onTestFinished(() => claims.close());
    return claims;
  },
  1,
);

describeTallies("memory", (limit) => createTallies({ ...(limit === undefined ? {} : { limit }) }));
describeTallies("file", (limit) => {
  const tallies = openFileTallies({ ...ledgerOptions(), limit });
  onTestFinished(() => tallies.close());
  return tallies;
});

test("A crash loses only the tallies of the last moments", async () => {
  const options = ledgerOptions();
  const crashed = openFileTallies({ ...options, saveIntervalMs: 5 });
  onTestFinished(() => crashed.close());
  const now = Date.now();
  await crashed.add("k", { input: 1, cached: 0, output: 0, estimated: 0 }, now);
  await eventually(() => openFileTallies(options).total("k", "day", now));
});

test("Tallies outlive a restart", async () => {
  const options = ledgerOptions();
  const now = Date.now();
  const before = openFileTallies(options);
  await before.add("k", { input: 1, cached: 2, output: 3, estimated: 4 }, now);
  await before.close();
  const after = openFileTallies(options);
  expect(await after.total("k", "month", now)).toBe(10);
  expect(await after.list("", "month", now)).toHaveLength(1);
  await after.close();
});

describe("ledger", () => {
  const account = { limit: 5, remaining: 0, resetsAt: Date.now() + 60_000 };

  async function exhaust(ledger: ReturnType<typeof createLedger>, key: string, resetsAt: number): Promise<void> {
    const { id } = (await ledger.reserve(key, 1, 1_000, 0)) as { id: string };
    await ledger.settle(key, id, { ...account, resetsAt }, 0);
  }

  test("An exhausted quota stays exhausted after a restart, until its window is over", async () => {
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

  test("A full ledger drops expired accounts first, then the least recently used, and never one with a reservation", async () => {
    const ledger = createLedger({ limit: 3 });
    await ledger.reserve("in flight", 1, 1_000, 0);
    await exhaust(ledger, "expired", 50);
    await exhaust(ledger, "old", 10_000);
    await exhaust(ledger, "new", 10_000);
    expect((await ledger.list(60)).map(({ key }) => key)).toEqual(["old", "new"]);
    await ledger.reserve("newest", 1, 1_000, 60);
    expect((await ledger.list(60)).map(({ key }) => key)).toEqual(["new"]);
  });
});
