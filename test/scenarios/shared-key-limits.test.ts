/** Keys that a key with a rate limit issues share its limit, and issuing is no way around it. */
import { describe, expect, test } from "vitest";
import type { Audit } from "../../src/callers/audit.ts";
import type { StoredKey } from "../../src/callers/issued-key.ts";
import { createIssuedKeys } from "../../src/callers/issued-keys.ts";
import { createKeyChanges } from "../../src/callers/key-changes.ts";
import { createKeyUsage } from "../../src/callers/key-usage.ts";
import { createRecords } from "../../src/stores/records.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const LIMIT = { maxRequests: 3, windowMs: 3_600_000 };
const PERMISSIONS = ["manage:keys", "api:GET"];

async function start() {
  const upstream = await startUpstream();
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: { api: { baseUrl: upstream.url } },
  });
  return { gateway, upstream };
}

async function operate(gateway: TestGateway, key: string, method: string, path: string, body?: unknown) {
  const headers = { "x-api-key": key, ...(body === undefined ? {} : { "content-type": "application/json" }) };
  const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  const answer = await fetch(`${gateway.url}/manage/keys${path}`, init);
  const text = await answer.text();
  return { status: answer.status, body: text === "" ? {} : JSON.parse(text) };
}

async function issue(gateway: TestGateway, by: string, more: object = {}) {
  const { status, body } = await operate(gateway, by, "POST", "", { name: "k", permissions: PERMISSIONS, ...more });
  expect(status).toBe(201);
  return body as { readonly id: string; readonly key: string };
}

const ask = async (gateway: TestGateway, key: string) =>
  (await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": key } })).status;

async function servedOf(gateway: TestGateway, keys: readonly string[]): Promise<number> {
  let served = 0;
  for (const key of keys) for (let i = 0; i < 4; i++) if ((await ask(gateway, key)) === 200) served++;
  return served;
}

test("A limited key and the keys that it and its keys issue are served its limit together", async () => {
  const { gateway, upstream } = await start();
  const held = await issue(gateway, MANAGEMENT_KEY, { rateLimit: LIMIT });
  const child = await issue(gateway, held.key, { rateLimit: LIMIT });
  const tight = await issue(gateway, held.key, { rateLimit: { ...LIMIT, maxRequests: 1 } });
  const grandchild = await issue(gateway, child.key, { rateLimit: LIMIT });
  expect(await servedOf(gateway, [tight.key, grandchild.key, child.key, held.key])).toBe(3);
  expect(upstream.requests).toHaveLength(3);
  const other = await issue(gateway, MANAGEMENT_KEY, { rateLimit: LIMIT });
  expect(await servedOf(gateway, [other.key])).toBe(3);
});

test("The limit is shared after the issuer was revoked, and when it got its limit after it issued keys", async () => {
  const { gateway } = await start();
  const late = await issue(gateway, MANAGEMENT_KEY);
  const children = [await issue(gateway, late.key), await issue(gateway, late.key)];
  expect(await servedOf(gateway, [(children[0] as { key: string }).key])).toBe(4);
  await operate(gateway, MANAGEMENT_KEY, "PATCH", `/${late.id}`, { rateLimit: LIMIT });
  await operate(gateway, MANAGEMENT_KEY, "DELETE", `/${late.id}`);
  expect(
    await servedOf(
      gateway,
      children.map(({ key }) => key),
    ),
  ).toBe(3);
});

test("A refusal for the issuer's limit says so, and the explanation shows it", async () => {
  const { gateway } = await start();
  const held = await issue(gateway, MANAGEMENT_KEY, { rateLimit: LIMIT });
  const child = await issue(gateway, held.key, { rateLimit: LIMIT });
  expect(await servedOf(gateway, [held.key])).toBe(3);
  const refused = await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": child.key } });
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, expect.stringMatching(/^\d+$/)]);
  expect(await refused.json()).toMatchObject({ message: expect.stringContaining("the key that issued this one") });
  const headers = { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" };
  const body = JSON.stringify({ method: "GET", path: "/proxy/api/", caller: child.id });
  const explained = await fetch(`${gateway.url}/manage/explain`, { method: "POST", headers, body });
  expect(await explained.json()).toMatchObject({ verdict: "refuse", refusal: { code: "RATE_LIMIT_EXCEEDED" } });
});

test("A limited key begins no new count: not by its own limit, nor by that of another key, nor by rotating one", async () => {
  const { gateway } = await start();
  const held = await issue(gateway, MANAGEMENT_KEY, { rateLimit: LIMIT });
  const friend = await issue(gateway, MANAGEMENT_KEY, { rateLimit: LIMIT });
  const child = await issue(gateway, held.key, { rateLimit: LIMIT });
  expect(await servedOf(gateway, [held.key])).toBe(3);
  const refused = { status: 403, body: { code: "INSUFFICIENT_PERMISSIONS" } };
  for (const rateLimit of [
    { ...LIMIT, windowMs: LIMIT.windowMs + 1 },
    { ...LIMIT, maxRequests: 2 },
  ]) {
    for (const [by, id] of [
      [held, held],
      [held, friend],
      [child, held],
      [friend, child],
    ] as const) {
      expect(await operate(gateway, by.key, "PATCH", `/${id.id}`, { rateLimit })).toMatchObject(refused);
    }
  }
  expect(await operate(gateway, held.key, "POST", `/${friend.id}/rotate`)).toMatchObject(refused);
  expect(await operate(gateway, child.key, "POST", `/${held.id}/rotate`)).toMatchObject(refused);
  // What takes no new count is allowed.
  const narrower = { rateLimit: { ...LIMIT, maxRequests: 2 } };
  expect((await operate(gateway, held.key, "PATCH", `/${child.id}`, narrower)).status).toBe(200);
  expect((await operate(gateway, held.key, "PATCH", `/${held.id}`, { name: "n", rateLimit: LIMIT })).status).toBe(200);
  const rotated = await operate(gateway, held.key, "POST", `/${held.id}/rotate`);
  const childRotated = await operate(gateway, rotated.body.key, "POST", `/${child.id}/rotate`);
  expect(await servedOf(gateway, [rotated.body.key, childRotated.body.key])).toBe(0);
});

describe("Issuing", () => {
  function open(limit?: number) {
    const clock = { now: Date.parse("2026-11-21T12:00:00Z") };
    const records = createRecords<StoredKey>(async () => {}, { revision: 0, entries: new Map() } as never);
    const keys = createIssuedKeys({ records, usage: createKeyUsage(), now: () => clock.now, ...(limit && { limit }) });
    const changes = createKeyChanges(keys, { record: async () => {} } as unknown as Audit);
    const wanted = { name: "k", permissions: ["manage:keys"] };
    const author = { caller: "management-key", address: "192.0.2.1", requestId: "r" };
    const create = async (id?: string) => {
      const issued = id === undefined ? undefined : keys.findById(id);
      return (await changes.create(wanted, { ...author, ...(id === undefined ? {} : { caller: id, issued }) })).item.id;
    };
    return { keys, create, clock };
  }

  test("One key issues at most a thousand, its keys' keys included, also at the same time; others issue on", async () => {
    const { keys, create } = open();
    const greedy = await create();
    const helper = await create(greedy);
    const attempts = Array.from({ length: 1_100 }, (_, i) => create(i % 2 === 0 ? greedy : helper));
    const results = await Promise.allSettled(attempts);
    const made = results.filter(({ status }) => status === "fulfilled");
    expect(made.length).toBeLessThanOrEqual(999);
    expect(keys.family.descendantsOf(greedy, 5_000).length).toBeLessThanOrEqual(1_000);
    const refusal = results.find((result) => result.status === "rejected") as PromiseRejectedResult;
    expect(refusal.reason).toMatchObject({
      code: "PRECONDITION_FAILED",
      message: expect.stringContaining("1000 keys"),
    });
    const other = await create();
    expect(await create(other)).toMatch(/^key_/);
  }, 20_000);

  test("A key that issues and revokes goes on: the keys that ended first make room for the new ones", async () => {
    const { keys, create } = open();
    const issuer = await create();
    const first = await create(issuer);
    const second = await create(issuer);
    for (let i = 0; i < 998; i++) await create(issuer);
    await expect(create(issuer)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    await keys.revoke(second);
    expect(await create(issuer)).toMatch(/^key_/);
    expect([keys.get(first)?.state, keys.get(second)]).toEqual(["active", undefined]);
    await expect(create(issuer)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  }, 20_000);

  test("A chain of keys that issue each other ends after eight", async () => {
    const { create } = open();
    let last = await create();
    for (let i = 0; i < 8; i++) last = await create(last);
    await expect(create(last)).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
  });

  test("A key that issued others is not deleted to make room, so that they share its limit", async () => {
    const { keys, create, clock } = open(3);
    const issuer = await create();
    const child = await create(issuer);
    await keys.revoke(issuer);
    clock.now += 31 * 86_400_000;
    await create();
    await expect(create()).rejects.toMatchObject({ code: "PRECONDITION_FAILED" });
    expect(keys.family.issuersOf(child)).toEqual([issuer]);
    await keys.revoke(child);
    clock.now += 31 * 86_400_000;
    await create();
    await create();
    expect([keys.get(child), keys.get(issuer)]).toEqual([undefined, undefined]);
  });
});
