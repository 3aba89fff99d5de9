import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { hasIssuedForm, isStoredKey, type StoredKey } from "../../src/callers/issued-key.ts";
import { createIssuedKeys, KeyEnded, KeyLimitReached, type NewKey } from "../../src/callers/issued-keys.ts";
import { JudgedPath } from "../../src/callers/judged-path.ts";
import { createKeyUsage } from "../../src/callers/key-usage.ts";
import { digestOf } from "../../src/callers/presented-keys.ts";
import { createMemoryStores, openFileStores } from "../../src/stores/open-stores.ts";
import { createRecords, openFileRecords } from "../../src/stores/records.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";

const DAY_MS = 24 * 3_600_000;
const NOON = Date.parse("2026-06-01T12:00:00.000Z");
const iso = (ms: number) => new Date(ms).toISOString();
const wanted: NewKey = { name: "ci", permissions: ["github:read"], createdBy: "management-key" };

function open(options: { readonly limit?: number } = {}) {
  const clock = { now: NOON };
  const records = createRecords<StoredKey>();
  const usage = createKeyUsage();
  const keys = createIssuedKeys({ records, usage, now: () => clock.now, checkIntervalMs: 5, ...options });
  onTestFinished(keys.close);
  const ended: [id: string, digest: string][] = [];
  keys.onEnd((id, digest) => ended.push([id, digest]));
  return { clock, records, usage, keys, ended };
}

describe("issued key", () => {
  test("A created key is found by its digest, with compiled permissions, and by nothing else", async () => {
    const { keys } = open();
    const { key, item } = await keys.create({ ...wanted, allowIps: ["10.0.0.0/8"] });
    expect(hasIssuedForm(key)).toBe(true);
    const found = keys.find(digestOf(key));
    expect(found).toMatchObject({ id: item.id, digest: digestOf(key), state: "active", key: { name: "ci" } });
    expect(found?.permissions.allowsProxy("github", "GET", new JudgedPath("/"))).toBe(true);
    expect(found?.permissions.allowsProxy("github", "POST", new JudgedPath("/"))).toBe(false);
    expect([found?.allowsAddress("10.1.1.1"), found?.allowsAddress("11.1.1.1")]).toEqual([true, false]);
    expect(keys.find(digestOf(key))).toBe(found);
    expect(keys.findById(item.id)).toBe(found);
    for (const other of [key, item.id, "", "constructor"]) expect(keys.find(other)).toBeUndefined();
  });

  test("Records and lists contain no part of a key", async () => {
    const folder = tempFolder();
    const path = join(folder, "keys.json");
    const keys = createIssuedKeys({ records: openFileRecords(path, isStoredKey), usage: createKeyUsage() });
    onTestFinished(keys.close);
    const { key, item } = await keys.create(wanted);
    const rotated = await keys.rotate(item.id, 60);
    const text = readFileSync(path, "utf8") + JSON.stringify([await keys.list(), keys.get(item.id), rotated?.item]);
    for (const each of [key, rotated?.key ?? ""]) {
      for (let at = 3; at + 6 <= each.length; at++) expect(text).not.toContain(each.slice(at, at + 6));
      expect(JSON.stringify(await keys.list())).not.toContain(digestOf(each));
    }
  });

  test("The list has the current keys, newest first, with their usage", async () => {
    const { keys, usage, clock } = open();
    const first = await keys.create({
      ...wanted,
      expiresAt: iso(NOON + 5_000),
      rateLimit: { maxRequests: 5, windowMs: 1_000 },
    });
    clock.now += 1_000;
    const second = await keys.create({ ...wanted, name: "app" });
    usage.note(first.item.id, NOON + 500);
    clock.now += 10_000;
    expect(await keys.list()).toEqual([
      { ...second.item, name: "app", state: "active", createdAt: iso(NOON + 1_000), uses: 0, lastUsedAt: null },
      {
        ...{
          id: first.item.id,
          name: "ci",
          permissions: ["github:read"],
          createdAt: iso(NOON),
          createdBy: "management-key",
        },
        ...{
          expiresAt: iso(NOON + 5_000),
          revokedAt: null,
          rateLimit: { maxRequests: 5, windowMs: 1_000 },
          allowIps: [],
          clientCert: null,
          budget: null,
          models: null,
        },
        state: "expired",
        graceUntil: null,
        uses: 1,
        lastUsedAt: iso(NOON + 500),
      },
    ]);
  });

  test("A change affects the next request and only the named fields, and no other field can be changed", async () => {
    const { keys } = open();
    const { key, item } = await keys.create({ ...wanted, expiresAt: iso(NOON + DAY_MS), allowIps: ["10.0.0.1"] });
    const sneaky = { permissions: ["gitlab:*"], name: undefined, digests: [], revokedAt: iso(NOON), createdBy: "me" };
    expect(await keys.update(item.id, sneaky)).toEqual({ ...item, permissions: ["gitlab:*"] });
    expect(keys.find(digestOf(key))?.permissions.allowsProxy("gitlab", "POST", new JudgedPath("/"))).toBe(true);
    expect(keys.find(digestOf(key))?.permissions.allowsProxy("github", "GET", new JudgedPath("/"))).toBe(false);
    expect(await keys.update(item.id, { expiresAt: null, allowIps: [], rateLimit: null })).toMatchObject({
      expiresAt: null,
      allowIps: [],
      rateLimit: null,
      name: "ci",
    });
    expect(await keys.update("key_none", { name: "x" })).toBeUndefined();
  });

  test("Concurrent changes of one key are all applied", async () => {
    const { keys } = open();
    const { item } = await keys.create(wanted);
    const changes = [
      { name: "new" },
      { allowIps: ["10.0.0.1"] },
      { permissions: ["a:read"] },
      { expiresAt: iso(NOON + 1) },
    ];
    await Promise.all(changes.map((change) => keys.update(item.id, change)));
    expect(keys.get(item.id)).toMatchObject(Object.assign({}, ...changes));
  });

  test("A revoked key stays revoked and cannot be changed", async () => {
    const { keys, clock } = open();
    const { key, item } = await keys.create({ ...wanted, expiresAt: iso(NOON + 10_000) });
    expect(await keys.revoke(item.id)).toMatchObject({ state: "revoked", revokedAt: iso(NOON) });
    expect(keys.find(digestOf(key))?.state).toBe("revoked");
    clock.now += DAY_MS;
    expect(await keys.revoke(item.id)).toMatchObject({ state: "revoked", revokedAt: iso(NOON) });
    await expect(keys.update(item.id, { expiresAt: null })).rejects.toThrow(KeyEnded);
    await expect(keys.rotate(item.id, 0)).rejects.toThrow(KeyEnded);
    expect(await keys.revoke("key_none")).toBeUndefined();
  });

  test("An expired key cannot be rotated, and works again after a change of its expiry", async () => {
    const { keys, clock } = open();
    const { key, item } = await keys.create({ ...wanted, expiresAt: iso(NOON + 1_000) });
    const found = keys.find(digestOf(key));
    clock.now = NOON + 999;
    expect(found?.state).toBe("active");
    clock.now = NOON + 1_000;
    expect(found?.state).toBe("expired");
    await expect(keys.rotate(item.id, 0)).rejects.toThrow(/is expired/);
    await keys.update(item.id, { expiresAt: iso(NOON + 5_000) });
    expect(keys.find(digestOf(key))?.state).toBe("active");
  });

  test("After a rotation both keys work for the grace period, then only the new one", async () => {
    const { keys, clock } = open();
    const first = await keys.create(wanted);
    const { id } = first.item;
    const second = await keys.rotate(id, 60);
    if (second === undefined) throw new Error("there is such a key");
    const states = (...issued: { key: string }[]) => issued.map(({ key }) => keys.find(digestOf(key))?.state);
    expect(second.item).toMatchObject({ id, graceUntil: iso(NOON + 60_000) });
    expect(states(first, second)).toEqual(["active", "active"]);
    clock.now += 60_000;
    expect(states(first, second)).toEqual(["expired", "active"]);
    expect(keys.get(id)).toMatchObject({ state: "active", graceUntil: null });
    const third = await keys.rotate(id, 0);
    expect(states(first, second, third ?? second)).toEqual([undefined, "expired", "active"]);
    expect(await keys.rotate("key_none", 0)).toBeUndefined();
  });

  test("A key is unchanged when its change cannot be written", async () => {
    let isFull = false;
    const records = createRecords<StoredKey>(async () => {
      if (isFull) throw new Error("ENOSPC");
    });
    const keys = createIssuedKeys({ records, usage: createKeyUsage() });
    onTestFinished(keys.close);
    const { key, item } = await keys.create(wanted);
    isFull = true;
    await expect(keys.revoke(item.id)).rejects.toThrow("ENOSPC");
    await expect(keys.create(wanted)).rejects.toThrow("ENOSPC");
    expect(keys.find(digestOf(key))?.state).toBe("active");
    expect(await keys.list()).toEqual([item]);
  });
});

describe("end of a key", () => {
  test("Listeners learn once, and at once, that a key was revoked, deleted or rotated without grace", async () => {
    const { keys, records, ended } = open();
    const [a, b, c] = [await keys.create(wanted), await keys.create(wanted), await keys.create(wanted)];
    await keys.revoke(a.item.id);
    await keys.revoke(a.item.id);
    await records.delete(b.item.id);
    await keys.rotate(c.item.id, 0);
    expect(ended).toEqual([a, b, c].map(({ key, item }) => [item.id, digestOf(key)]));
    expect(keys.find(digestOf(b.key))).toBeUndefined();
  });

  test("Listeners learn that a key expired or its grace period ended, and hear nothing about the new key", async () => {
    const { keys, clock, ended } = open();
    const a = await keys.create({ ...wanted, expiresAt: iso(NOON + 1_000) });
    const b = await keys.create(wanted);
    await keys.rotate(b.item.id, 2);
    expect(ended).toEqual([]);
    clock.now += 1_000;
    await eventually(() => ended.length === 1);
    clock.now += 1_000;
    await eventually(() => ended.length === 2);
    clock.now += DAY_MS;
    await keys.revoke(a.item.id);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(ended).toEqual([a, b].map(({ key, item }) => [item.id, digestOf(key)]));
  });

  test("Listeners learn about both digests of a key revoked within its grace period, and about the oldest after a second rotation", async () => {
    const { keys, ended } = open();
    const first = await keys.create(wanted);
    const second = await keys.rotate(first.item.id, 60);
    const third = await keys.rotate(first.item.id, 60);
    expect(ended.map(([, digest]) => digest)).toEqual([digestOf(first.key)]);
    await keys.revoke(first.item.id);
    expect(ended.map(([, digest]) => digest)).toEqual([first, third, second].map((each) => digestOf(each?.key ?? "")));
  });

  test("Listeners learn that a key may do less than before, not that it may do more or was renamed", async () => {
    const { keys, ended } = open();
    const { item } = await keys.create({ ...wanted, permissions: ["github:read", "gitlab:read"] });
    await keys.update(item.id, { name: "new" });
    await keys.update(item.id, { permissions: ["*:read"], rateLimit: { maxRequests: 1, windowMs: 1_000 } });
    await keys.update(item.id, { expiresAt: iso(NOON + DAY_MS) });
    expect(ended).toEqual([]);
    await keys.update(item.id, { permissions: ["github:read"] });
    await keys.update(item.id, { allowIps: ["10.0.0.1"] });
    await keys.update(item.id, { allowIps: [] });
    expect(ended).toHaveLength(2);
    await keys.update(item.id, { expiresAt: iso(NOON) });
    expect(ended).toHaveLength(3);
  });
});

describe("all issued keys", () => {
  test("Keys in any state count for their plane, so that no plane opens because its last key was revoked", async () => {
    const { keys, records } = open();
    expect(keys.counts).toEqual({ proxy: 0, manage: 0 });
    const { item } = await keys.create({ ...wanted, permissions: ["github:read", "manage:read"] });
    await keys.create({ ...wanted, permissions: ["manage:keys"] });
    expect(keys.counts).toEqual({ proxy: 1, manage: 2 });
    await keys.revoke(item.id);
    expect(keys.counts).toEqual({ proxy: 1, manage: 2 });
    await records.delete(item.id);
    expect(keys.counts).toEqual({ proxy: 0, manage: 1 });
  });

  test("The number of keys is bounded; keys that ended over 30 days ago make room, the oldest end first", async () => {
    const { keys, clock, usage } = open({ limit: 3 });
    const [a, b] = [await keys.create(wanted), await keys.create({ ...wanted, expiresAt: iso(NOON + DAY_MS) })];
    await keys.create(wanted);
    usage.note(a.item.id, NOON);
    await keys.revoke(a.item.id);
    await expect(keys.create(wanted)).rejects.toThrow(KeyLimitReached);
    clock.now = NOON + 30 * DAY_MS - 1;
    await expect(keys.create(wanted)).rejects.toThrow(KeyLimitReached);
    clock.now = NOON + 31 * DAY_MS;
    await keys.create(wanted);
    expect(keys.get(a.item.id)).toBeUndefined();
    expect(usage.of(a.item.id)).toBeUndefined();
    const more = await Promise.allSettled([keys.create(wanted), keys.create(wanted)]);
    expect(more.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(keys.get(b.item.id)).toBeUndefined();
    expect(await keys.list()).toHaveLength(3);
  });

  test("Keys and their usage survive a restart, also keys with fields that only a newer gateway understands", async () => {
    const folder = tempFolder();
    const openStores = () => openFileStores(folder, (value): value is string => value !== undefined, isStoredKey);
    const stores = await openStores();
    const keys = createIssuedKeys({ records: stores.keys, usage: stores.keyUsage });
    const { key, item } = await keys.create({ ...wanted, permissions: ["github:read", "quota:forever:and:ever"] });
    const gone = await keys.create(wanted);
    for (const { id } of [item, gone.item]) stores.keyUsage.note(id, NOON);
    await stores.keys.delete(gone.item.id);
    keys.close();
    await stores.close();
    const again = await openStores();
    const after = createIssuedKeys({ records: again.keys, usage: again.keyUsage });
    onTestFinished(after.close);
    expect(after.find(digestOf(key))?.permissions.allowsProxy("github", "GET", new JudgedPath("/"))).toBe(true);
    expect(await after.list()).toEqual([{ ...item, uses: 1, lastUsedAt: iso(NOON) }]);
    expect(again.keyUsage.of(gone.item.id)).toBeUndefined();
    await again.close();
  });

  test("Keys are in memory where there is no folder", async () => {
    const stores = createMemoryStores<string, string, StoredKey>();
    const keys = createIssuedKeys({ records: stores.keys, usage: stores.keyUsage });
    onTestFinished(keys.close);
    const { key } = await keys.create(wanted);
    expect(keys.find(digestOf(key))?.state).toBe("active");
    await stores.close();
  });

  test("Finding a key takes the same time for any number of keys", async () => {
    const { keys } = open();
    const issued = await Promise.all(Array.from({ length: 5_000 }, () => keys.create(wanted)));
    const digest = digestOf(issued[4_000]?.key ?? "");
    const startedAt = performance.now();
    for (let i = 0; i < 500_000; i++) keys.find(digest);
    expect(performance.now() - startedAt).toBeLessThan(500);
  });
});
