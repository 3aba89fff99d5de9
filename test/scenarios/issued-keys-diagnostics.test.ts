/** What operators learn about issued keys from the diagnostics, key-debug and the log, and what callers do not learn. */
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import type { CheckResult } from "../../src/diagnostics/check.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function start(env: Record<string, string> = KEYS, rateLimit?: ServiceInput["rateLimit"]) {
  const upstream = await startUpstream();
  return startGateway({ env, services: { api: { baseUrl: upstream.url, ...(rateLimit && { rateLimit }) } } });
}

async function issue(gateway: TestGateway, more: object = {}) {
  const { status, body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions: ["api:read"], ...more });
  expect(status).toBe(201);
  return body as { id: string; key: string };
}

function ask(gateway: TestGateway, key: string, path = "/proxy/api/x", method = "GET") {
  return fetch(gateway.url + path, { method, headers: { authorization: `Bearer ${key}` } });
}

async function check(gateway: TestGateway, id: string) {
  const { body } = await manage(gateway, "GET", "/diagnostics");
  return (body.checks as CheckResult[]).find((each) => each.id === id);
}

test("The check `keys` is ok for keys that do what they may do", async () => {
  const gateway = await start();
  const { key } = await issue(gateway);
  expect((await ask(gateway, key)).status).toBe(200);
  expect(await check(gateway, "keys")).toMatchObject({
    status: "ok",
    summary: "1 active key",
    evidence: { active: 1, expired: 0, revoked: 0, refused: [], limited: [], expiring: [] },
  });
});

test("The check `keys` names each refused key and what it lacks", async () => {
  const gateway = await start();
  const lacking = await issue(gateway, { name: "lacking" });
  const elsewhere = await issue(gateway, { name: "elsewhere", allowIps: ["192.0.2.1"] });
  const revoked = await issue(gateway, { name: "revoked" });
  const busy = await issue(gateway, { name: "busy", rateLimit: { maxRequests: 1, windowMs: 60_000 } });
  await issue(gateway, { name: "short", expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  await manage(gateway, "DELETE", `/keys/${revoked.id}`);
  expect((await ask(gateway, lacking.key, "/proxy/api/x", "POST")).status).toBe(403);
  expect((await ask(gateway, elsewhere.key)).status).toBe(403);
  for (let i = 0; i < 2; i++) {
    const response = await ask(gateway, revoked.key);
    const { message } = (await response.json()) as { message: string };
    expect([response.status, message]).toEqual([401, expect.stringContaining("has expired or was revoked")]);
  }
  expect([(await ask(gateway, busy.key)).status, (await ask(gateway, busy.key)).status]).toEqual([200, 429]);

  const found = await check(gateway, "keys");
  expect(found?.status).toBe("warn");
  for (const words of [
    `lacking (${lacking.id}) lacked api:POST:/x (1 request)`,
    `elsewhere (${elsewhere.id}) was sent from an address that is not in its allowIps (1 request)`,
    `revoked (${revoked.id}) is revoked and was sent 2 times`,
    `busy (${busy.id}) has used up its own limit`,
    "short (",
  ]) {
    expect(found?.summary).toContain(words);
  }
  expect(found?.evidence).toMatchObject({ active: 4, revoked: 1, limited: [busy.id] });
  // Once for each key, not with each request.
  expect(gateway.logText().match(/was revoked and is still presented/g)).toHaveLength(1);
  expect(gateway.logText()).toContain(`the key ${lacking.id} was refused: it lacks the required permission`);
});

test("The check `keys` does not report a limit that was removed", async () => {
  const gateway = await start();
  const { id, key } = await issue(gateway, { rateLimit: { maxRequests: 1, windowMs: 60_000 } });
  expect([(await ask(gateway, key)).status, (await ask(gateway, key)).status]).toEqual([200, 429]);
  expect((await check(gateway, "keys"))?.evidence).toMatchObject({ limited: [id] });
  await manage(gateway, "PATCH", `/keys/${id}`, { rateLimit: null });
  expect(await check(gateway, "keys")).toMatchObject({ status: "ok", evidence: { limited: [] } });
});

test("The check `keys` reports a key that lacks a part of /manage, and its uses there are counted", async () => {
  const gateway = await start();
  const { id, key } = await issue(gateway, { permissions: ["manage:read"] });
  expect((await ask(gateway, key, "/manage/services")).status).toBe(200);
  expect((await ask(gateway, key, "/manage/reload", "POST")).status).toBe(403);
  expect((await check(gateway, "keys"))?.summary).toContain(`ci (${id}) lacked manage:services (1 request)`);
  const { body } = await manage(gateway, "GET", `/keys/${id}`);
  expect(body).toMatchObject({ uses: 1, lastUsedAt: expect.any(String) });
});

test("For a long path the check keeps the service and the method, and no part of the path", async () => {
  const gateway = await start();
  const { key } = await issue(gateway);
  expect((await ask(gateway, key, `/proxy/api/${"x".repeat(4_000)}`, "POST")).status).toBe(403);
  const summary = (await check(gateway, "keys"))?.summary;
  expect(summary).toContain("lacked api:POST (1 request)");
  expect(gateway.logText()).not.toContain('"required":"api:POST:/');
});

test("key-debug shows which issued key was presented, its state, and whether it may be used from this address", async () => {
  const gateway = await start();
  const { id, key } = await issue(gateway, { allowIps: ["192.0.2.1"] });
  const debug = async () => {
    const headers = { "x-api-key": MANAGEMENT_KEY, authorization: `Bearer ${key}` };
    const response = await fetch(`${gateway.url}/manage/key-debug`, { headers });
    expect(await response.clone().text()).not.toContain(key.slice(3, 11));
    return response.json();
  };
  expect(await debug()).toMatchObject({
    keys: { issued: { configured: true, proxy: 1, management: 0 } },
    presented: [
      {
        where: "Authorization",
        matches: "proxy",
        issued: { id, name: "ci", state: "active", permissions: ["api:read"], allowsAddress: false },
      },
      { where: "x-api-key", matches: "management", issued: null },
    ],
  });
  await manage(gateway, "DELETE", `/keys/${id}`);
  expect(await debug()).toMatchObject({ presented: [{ matches: null, issued: { id, state: "revoked" } }, {}] });
});

test("The check `auth` reports that an issued key protects the plane, and a mistyped key", async () => {
  const gateway = await start({ MANAGEMENT_API_KEY: MANAGEMENT_KEY });
  expect(await check(gateway, "auth")).toMatchObject({ status: "warn", evidence: { proxy: { protected: false } } });
  const { key } = await issue(gateway);
  expect(await check(gateway, "auth")).toMatchObject({
    status: "ok",
    evidence: { proxy: { protected: true, keySet: false } },
  });
  expect((await ask(gateway, key.slice(0, -1))).status).toBe(401);
  expect(await check(gateway, "auth")).toMatchObject({
    status: "warn",
    summary: "1 request to /proxy had an issued key that is truncated or mistyped",
  });
});

test("The check `limits` finds callers that are counted together because they share one key", async () => {
  const gateway = await start(KEYS, { maxRequests: 100, windowMs: 60_000, per: "caller" });
  for (let i = 0; i < 10; i++) expect((await ask(gateway, PROXY_KEY)).status).toBe(200);
  expect(await check(gateway, "limits:api")).toMatchObject({
    status: "warn",
    summary: "all 10 requests came with one key",
    fix: expect.stringContaining("POST /manage/keys"),
  });
});
