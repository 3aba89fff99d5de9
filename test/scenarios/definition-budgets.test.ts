/** Services over REST have budgets: before they are stored, and at a start for those that an earlier version stored. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { createStoredBudget } from "../../src/services/stored-budget.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const ENV = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY, EGRESS_ALLOW_PRIVATE: "true" };
const OWN = { baseUrl: "https://api.example.com/" };
const HOSTILE = { pathHints: Array.from({ length: 64 }, () => ({ match: "a{1000}".repeat(28), message: "m" })) };

test("A service with patterns over the budget is refused by POST, PUT and PATCH, and nothing is stored", async () => {
  const gateway = await startGateway({ env: ENV });
  await manage(gateway, "PUT", "/services/api", OWN);
  const attempts = [
    await manage(gateway, "POST", "/services", { key: "new", config: { ...OWN, ...HOSTILE } }),
    await manage(gateway, "PUT", "/services/new", { ...OWN, ...HOSTILE }),
    await manage(gateway, "PUT", "/services/api", { ...OWN, ...HOSTILE }),
    await manage(gateway, "PATCH", "/services/api", HOSTILE),
    await manage(gateway, "PATCH", "/services/github", HOSTILE),
  ];
  for (const { status, body } of attempts) expect([status, body.code]).toEqual([400, "VALIDATION_ERROR"]);
  expect(attempts[1]?.body.details.pathHints).toEqual([expect.stringMatching(/at most 32 entries/)]);
  expect((await manage(gateway, "GET", "/services/new")).status).toBe(404);
  expect((await manage(gateway, "GET", "/services/api")).body.config).toEqual(OWN);
});

test("A stored service over the budget is out of use after a start, its patterns are not compiled, and others are served", async () => {
  const upstream = await startUpstream();
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-data-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const entry = (config: object) => ({ value: { config }, version: 1 });
  const entries = { slow: entry({ ...OWN, ...HOSTILE }), api: entry({ baseUrl: upstream.url }) };
  writeFileSync(join(folder, "services.json"), JSON.stringify({ format: 1, revision: 1, entries }));
  const before = process.cpuUsage();
  const gateway = await startGateway({ env: ENV, stores: await openFileStores(folder, isStoredService, isStoredKey) });
  // Compiled, the patterns took over ten seconds and 1.7 GB.
  expect(process.cpuUsage(before).user / 1_000).toBeLessThan(3_000);
  const keyed = { headers: { "x-api-key": PROXY_KEY } };
  expect((await fetch(`${gateway.url}/proxy/api/`, keyed)).status).toBe(200);
  expect((await fetch(`${gateway.url}/proxy/slow/`, keyed)).status).toBe(404);
  const { body } = await manage(gateway, "GET", "/services/slow");
  expect(body.outOfUse).toEqual([expect.stringMatching(/^pathHints: .*at most 32 entries/)]);
  expect(await gateway.reload()).toMatchObject({
    isDone: true,
    warnings: [expect.stringMatching(/^services\.slow\.pathHints .*; slow is out of use until this is fixed$/)],
  });
  expect((await manage(gateway, "PUT", "/services/slow", { baseUrl: upstream.url })).status).toBe(200);
  expect((await fetch(`${gateway.url}/proxy/slow/`, keyed)).status).toBe(200);
});

test("A path hint is sent only to callers whose key may use the path", async () => {
  const pathHints = [{ match: "^/org/", message: "Not so." }];
  const upstream = await startUpstream();
  const baseUrl = upstream.url;
  const gateway = await startGateway({
    env: ENV,
    services: { api: { baseUrl, pathHints }, open: { baseUrl, pathHints, access: "public" } },
  });
  const issue = async (permission: string) =>
    (await manage(gateway, "POST", "/keys", { name: "k", permissions: [permission] })).body.key as string;
  const ask = async (service: string, key?: string) => {
    const headers: Record<string, string> = key === undefined ? {} : { "x-api-key": key };
    return (await fetch(`${gateway.url}/proxy/${service}/org/x`, { headers })).status;
  };
  expect(await ask("api")).toBe(401);
  expect(await ask("api", await issue("echo:GET"))).toBe(403);
  expect(await ask("api", await issue("api:GET:/orgs/**"))).toBe(403);
  expect(await ask("api", await issue("api:GET"))).toBe(400);
  expect(await ask("api", PROXY_KEY)).toBe(400);
  expect(await ask("open")).toBe(400);
});

test("Services over REST are limited in number and in size together, and a change of one that is stored needs no room", () => {
  const entries = new Map<string, { value: { config: object }; version: number }>();
  const store = (key: string, config: object) => entries.set(key, { value: { config }, version: 1 });
  const budget = createStoredBudget({ entries } as never, { services: 2, length: 100 });
  const add = (key: string, config: Record<string, unknown>) => () => budget.requireRoom(key, config);
  store("a", { name: "x".repeat(40) });
  expect(add("b", { name: "x".repeat(30) })).not.toThrow();
  expect(add("b", { name: "x".repeat(90) })).toThrow(/limit of 100 characters/);
  store("b", {});
  expect(add("c", {})).toThrow(/limit of 2 services/);
  expect(add("a", { name: "x".repeat(80) })).not.toThrow();
  expect(add("a", { name: "x".repeat(95) })).toThrow(/limit of 100 characters/);
});
