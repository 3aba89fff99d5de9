/** Issued keys over HTTP: created, used, refused, changed, rotated, revoked; and the same after a restart. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { digestOf } from "../../src/callers/presented-keys.ts";
import { ConfigProblems, loadConfig } from "../../src/config/load-config.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { startLines } from "../../src/start/describe-start.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { openFileRecords } from "../../src/stores/records.ts";
import { load, tempFolder } from "../config/temp-folder.ts";
import { type GatewaySetup, MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };

async function start({ env = KEYS, ...setup }: GatewaySetup = {}) {
  const upstream = await startUpstream();
  const services = { api: { baseUrl: `${upstream.url}/base/` }, other: { baseUrl: upstream.url } };
  return { upstream, gateway: await startGateway({ env, services, ...setup }) };
}

async function issue(gateway: Pick<TestGateway, "url">, permissions: string[], more: object = {}) {
  const { status, body } = await manage(gateway, "POST", "/keys", { name: "ci", permissions, ...more });
  expect(status, JSON.stringify(body)).toBe(201);
  return body as { id: string; key: string };
}

interface Refused {
  readonly code: string;
  readonly message: string;
  readonly required?: string;
}

async function ask(gateway: Pick<TestGateway, "url">, key: string, path = "/proxy/api/x", method = "GET") {
  const response = await fetch(gateway.url + path, { method, headers: { authorization: `Bearer ${key}` } });
  return {
    status: response.status,
    body: response.headers.has("x-proxy-error") ? ((await response.json()) as Refused) : undefined,
  };
}

describe("issued key", () => {
  test("An issued key is shown once, opens what it may open, and no byte of it is forwarded or written", async () => {
    const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    const folder = tempFolder();
    const gateway = await startGateway({
      env: KEYS,
      services: { api: { baseUrl: upstream.url } },
      stores: await openFileStores(folder, isStoredService, isStoredKey),
    });
    const { id, key } = await issue(gateway, ["api:read"]);
    expect(key).toMatch(/^bp_[0-9A-Za-z]{36}$/);
    for (const headers of [`Authorization: Bearer ${key}`, `x-api-key: ${key}`, `Cookie: a=${key}`]) {
      const target = headers.startsWith("Cookie") ? `/proxy/api/?a=1&api_key=${key}` : "/proxy/api/";
      const request = `GET ${target} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\nConnection: close\r\n\r\n`;
      expect((await rawRequest(gateway.port, request)).status).toBe(200);
    }
    expect(upstream.received.join()).not.toContain(key);
    expect(gateway.exchanges().map(({ caller }) => caller)).toEqual([id, id, id]);
    const listed = await manage(gateway, "GET", "/keys");
    expect(listed.body.keys).toMatchObject([{ id, name: "ci", state: "active", uses: 3, permissions: ["api:read"] }]);
    await gateway.close();
    const audit = readFileSync(join(folder, "audit.jsonl"), "utf8");
    const usage = readFileSync(join(folder, "usage.json"), "utf8");
    for (const text of [gateway.logText(), JSON.stringify(listed.body), audit, usage]) expect(text).not.toContain(key);
    expect(readFileSync(join(folder, "keys.json"), "utf8")).not.toContain(key);
  });

  test("An issued key opens nothing else: no other service, method, or path in any spelling", async () => {
    const { gateway, upstream } = await start();
    const { key } = await issue(gateway, ["api:GET:/public/**"]);
    expect((await ask(gateway, key, "/proxy/api/public/x")).status).toBe(200);
    for (const [path, method] of [
      ["/proxy/other/public/x", "GET"],
      ["/proxy/api/public/x", "POST"],
      ["/proxy/api/private", "GET"],
      ["/proxy/api/Public/x", "GET"],
      ["/proxy/api/publicity", "GET"],
      ["/proxy/api/public/%252e%252e/private", "GET"],
    ] as const) {
      const { status, body } = await ask(gateway, key, path, method);
      expect([status, body?.code], path).toEqual([403, "INSUFFICIENT_PERMISSIONS"]);
      expect(body?.required).toMatch(/^(api|other):(GET|POST)/);
    }
    expect(upstream.requests).toHaveLength(1);
    expect((await ask(gateway, key, "/manage/services")).status).toBe(401);
  });

  test("An issued key works from its addresses only", async () => {
    const { gateway } = await start();
    const { id, key } = await issue(gateway, ["api:read"], { allowIps: ["192.0.2.0/24"] });
    for (const path of ["/proxy/api/x", "/proxy/services", "/proxy/auth-test"]) {
      expect((await ask(gateway, key, path)).body, path).toMatchObject({ code: "IP_NOT_ALLOWED" });
    }
    expect((await manage(gateway, "PATCH", `/keys/${id}`, { allowIps: ["127.0.0.0/8"] })).status).toBe(200);
    expect((await ask(gateway, key)).status).toBe(200);
  });

  test("A change, a rotation with a grace period and a revocation apply from the next request on", async () => {
    const { gateway } = await start();
    const { id, key } = await issue(gateway, ["other:*"]);
    expect((await ask(gateway, key)).status).toBe(403);
    await manage(gateway, "PATCH", `/keys/${id}`, { permissions: ["api:*"] });
    expect((await ask(gateway, key)).status).toBe(200);
    const rotated = await manage(gateway, "POST", `/keys/${id}/rotate`, { graceSeconds: 60 });
    expect([(await ask(gateway, key)).status, (await ask(gateway, rotated.body.key)).status]).toEqual([200, 200]);
    const again = await manage(gateway, "POST", `/keys/${id}/rotate`);
    expect((await ask(gateway, rotated.body.key)).body).toMatchObject({
      code: "INVALID_API_KEY",
      message: expect.stringContaining("has expired or was revoked"),
    });
    expect((await manage(gateway, "DELETE", `/keys/${id}`)).status).toBe(204);
    expect((await ask(gateway, again.body.key)).body).toMatchObject({
      code: "INVALID_API_KEY",
      message: expect.stringContaining("has expired or was revoked"),
    });
    expect(await manage(gateway, "POST", `/keys/${id}/rotate`)).toMatchObject({
      status: 412,
      body: { hint: "Create another key instead." },
    });
    expect((await manage(gateway, "DELETE", `/keys/${id}`)).status).toBe(204);
    expect((await manage(gateway, "DELETE", "/keys/key_nothing")).status).toBe(404);
    const { body } = await manage(gateway, "GET", "/audit");
    expect(body.entries.map(({ action }: { action: string }) => action)).toEqual([
      ...["key.revoke", "key.rotate", "key.rotate", "key.change", "key.create"],
    ]);
    expect(body.entries.slice(0, 3)).toMatchObject([
      { before: { state: "active" }, after: { state: "revoked" } },
      { before: { graceUntil: expect.any(String) }, after: { graceUntil: null } },
      { before: { graceUntil: null }, after: { graceUntil: expect.any(String) } },
    ]);
  });

  test("An issued key has a limit of its own, and only a change of the limit resets its count", async () => {
    const { gateway } = await start();
    const { id, key } = await issue(gateway, ["*:*"], { rateLimit: { maxRequests: 2, windowMs: 60_000 } });
    const other = await issue(gateway, ["*:*"]);
    const statuses = async (count: number) => {
      const all = [];
      for (let i = 0; i < count; i++)
        all.push((await ask(gateway, key, i % 2 === 0 ? "/proxy/api/x" : "/proxy/other/x")).status);
      return all;
    };
    expect(await statuses(3)).toEqual([200, 200, 429]);
    expect((await ask(gateway, key)).body).toMatchObject({
      message: expect.stringContaining("for this key"),
      hint: expect.stringContaining("`rateLimit` of this key"),
    });
    expect((await ask(gateway, other.key)).status).toBe(200);
    await manage(gateway, "PATCH", `/keys/${id}`, { name: "renamed" });
    expect(await statuses(1)).toEqual([429]);
    await manage(gateway, "PATCH", `/keys/${id}`, { rateLimit: { maxRequests: 3, windowMs: 60_000 } });
    expect(await statuses(4)).toEqual([200, 200, 200, 429]);
    await manage(gateway, "PATCH", `/keys/${id}`, { rateLimit: null });
    expect(await statuses(4)).toEqual([200, 200, 200, 200]);
  });

  test("Revoking a key closes its WebSockets and no others", async () => {
    const echo = await startWebSocketEcho();
    const gateway = await startGateway({ env: KEYS, services: { ws: { baseUrl: echo.url, ws: true } } });
    const connect = async (key: string) => {
      const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/ws/`, { headers: { "x-api-key": key } });
      onTestFinished(() => socket.terminate());
      await once(socket, "open");
      return socket;
    };
    const ended = await issue(gateway, ["ws:write"]);
    const unchanged = await issue(gateway, ["ws:write"]);
    const [one, other] = [await connect(ended.key), await connect(unchanged.key)];
    const closed = once(one, "close");
    await manage(gateway, "DELETE", `/keys/${ended.id}`);
    expect((await closed)[0]).toBe(1001);
    other.send("still");
    expect(String(((await once(other, "message")) as [Buffer])[0])).toBe("still");
  });

  test("A key and its revocation survive a restart", async () => {
    const folder = tempFolder();
    const open = async () => start({ stores: await openFileStores(folder, isStoredService, isStoredKey) });
    const before = (await open()).gateway;
    const good = await issue(before, ["api:read"]);
    const bad = await issue(before, ["api:read"]);
    await manage(before, "DELETE", `/keys/${bad.id}`);
    await ask(before, good.key);
    await before.close();
    const after = (await open()).gateway;
    expect([(await ask(after, good.key)).status, (await ask(after, bad.key)).status]).toEqual([200, 401]);
    expect((await manage(after, "GET", `/keys/${good.id}`)).body).toMatchObject({ uses: 2, state: "active" });
  });

  test("The first issued key protects a plane that was open before", async () => {
    const { gateway } = await start({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(200);
    const { key } = await issue(gateway, ["api:read"]);
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(401);
    expect((await ask(gateway, key)).status).toBe(200);
  });

  test("An issued key in any state protects the plane beyond loopback, and satisfies the start's requirement of a key", async () => {
    const open = { ...KEYS, PROXY_API_KEY: "" };
    for (const env of [
      { ...open, HOST: "0.0.0.0" },
      { ...open, REQUIRE_AUTH_FOR_PROXY: "true" },
    ]) {
      const issued = (hasIssuedKey: boolean) =>
        loadConfig({ processEnv: env, directory: tempFolder(), hasIssuedKey: () => hasIssuedKey });
      await expect(issued(false)).rejects.toThrow(ConfigProblems);
      expect((await issued(true)).proxyPlane).toMatchObject({ key: undefined, isProtected: true });
    }
    const asked: string[] = [];
    const hasIssuedKey = (folder: string) => asked.push(folder) > 0;
    await loadConfig({ processEnv: { ...KEYS, HOST: "0.0.0.0" }, directory: tempFolder(), hasIssuedKey });
    await loadConfig({ processEnv: {}, directory: tempFolder(), hasIssuedKey });
    expect(asked).toEqual([]);
  });

  test("The start lines mention issued keys where they protect the plane", async () => {
    const start = { config: await load(), services: [], url: "http://127.0.0.1:1" };
    expect(startLines({ ...start, hasIssuedKeys: true })).toContain("/proxy/* needs an issued key");
    expect(startLines(start).join()).toContain("/proxy/* is open to this machine");
  });

  test("Explain shows the permission that an issued key lacks", async () => {
    const { gateway } = await start();
    const { id } = await issue(gateway, ["api:GET:/public/**"]);
    const explain = async (path: string) =>
      (await manage(gateway, "POST", "/explain", { method: "GET", path, caller: id })).body;
    expect(await explain("/proxy/api/public/x")).toMatchObject({ verdict: "forward", request: { caller: id } });
    expect(await explain("/proxy/api/private")).toMatchObject({
      verdict: "refuse",
      refusal: { code: "INSUFFICIENT_PERMISSIONS", message: expect.stringContaining("api:GET:/private") },
    });
  });
});

describe("key for /manage", () => {
  async function operate(gateway: TestGateway, key: string, method: string, path: string, body?: object) {
    const response = await manage(gateway, method, path, body, { "x-api-key": key });
    return response.body?.code ?? response.status;
  }

  test.each([
    ["manage:read", 200, 200, "INSUFFICIENT_PERMISSIONS", "INSUFFICIENT_PERMISSIONS"],
    ["manage:services", 200, "INSUFFICIENT_PERMISSIONS", 200, "INSUFFICIENT_PERMISSIONS"],
    ["manage:keys", "INSUFFICIENT_PERMISSIONS", 200, "INSUFFICIENT_PERMISSIONS", 201],
    ["manage:*", 200, 200, 200, 201],
  ])("With %s: services %s, keys %s, reload %s, a new key %s", async (permission, services, keys, reload, created) => {
    const { gateway } = await start();
    const { key } = await issue(gateway, [permission, "api:read"]);
    expect(await operate(gateway, key, "GET", "/services")).toBe(services);
    expect(await operate(gateway, key, "GET", "/keys")).toBe(keys);
    expect(await operate(gateway, key, "POST", "/reload")).toBe(reload);
    const minted = { name: "mine", permissions: ["api:GET:/x"] };
    expect(await operate(gateway, key, "POST", "/keys", minted)).toBe(created);
  });

  test("Changing the access of a service needs manage:keys too", async () => {
    const { gateway } = await start({ env: { ...KEYS, EGRESS_ALLOW_PRIVATE: "true" } });
    const { key } = await issue(gateway, ["manage:services"]);
    const config = { baseUrl: "https://api.weather.example/" };
    const refused = "INSUFFICIENT_PERMISSIONS";
    const open = { ...config, access: "public" };
    expect(await operate(gateway, key, "POST", "/services", { key: "weather", config: open })).toBe(refused);
    expect(await operate(gateway, key, "POST", "/services", { key: "weather", config })).toBe(201);
    expect(await operate(gateway, key, "PATCH", "/services/weather", { access: "public" })).toBe(refused);
    expect(await operate(gateway, key, "PUT", "/services/weather", open)).toBe(refused);
    expect((await manage(gateway, "PATCH", "/services/weather", { access: "public" })).status).toBe(200);
    expect(await operate(gateway, key, "PUT", "/services/weather", config)).toBe(refused);
    expect(await operate(gateway, key, "PATCH", "/services/weather", { retries: 1 })).toBe(200);
    // A deleted service is open to no caller; one restored from the file may be open to every caller.
    expect(await operate(gateway, key, "DELETE", "/services/weather")).toBe(204);
  });

  test("Serving an upstream's pages on the gateway's origin needs manage:keys too, because they may read keys there", async () => {
    const gateway = await startGateway({
      env: { ...KEYS, EGRESS_ALLOW_PRIVATE: "true" },
      services: { api: { baseUrl: "https://api.weather.example/", webContent: "pass" } },
    });
    const { key } = await issue(gateway, ["manage:services"]);
    const both = (await issue(gateway, ["manage:services", "manage:keys"])).key;
    const refused = "INSUFFICIENT_PERMISSIONS";
    const config = { baseUrl: "https://api.weather.example/" };
    const pass = { ...config, webContent: "pass" };
    expect(await operate(gateway, key, "POST", "/services", { key: "weather", config: pass })).toBe(refused);
    expect(await operate(gateway, key, "POST", "/services", { key: "weather", config })).toBe(201);
    expect(await operate(gateway, key, "PATCH", "/services/weather", { webContent: "pass" })).toBe(refused);
    expect(await operate(gateway, key, "PUT", "/services/weather", pass)).toBe(refused);
    expect(await operate(gateway, both, "PATCH", "/services/weather", { webContent: "pass" })).toBe(200);
    expect(await operate(gateway, key, "PATCH", "/services/weather", { retries: 1 })).toBe(200);
    expect(await operate(gateway, key, "PATCH", "/services/weather", { webContent: "isolate" })).toBe(200);
    expect(await operate(gateway, key, "PATCH", "/services/api", { webContent: "isolate" })).toBe(200);
    expect(await operate(gateway, key, "DELETE", "/services/api")).toBe(refused);
  });

  test("Removing an override needs manage:keys too where that makes the service public", async () => {
    const gateway = await startGateway({
      env: { ...KEYS, EGRESS_ALLOW_PRIVATE: "true" },
      services: { api: { baseUrl: "https://api.weather.example/", access: "public" } },
    });
    const { key } = await issue(gateway, ["manage:services"]);
    expect((await manage(gateway, "PATCH", "/services/api", { access: "key" })).status).toBe(200);
    expect(await operate(gateway, key, "DELETE", "/services/api")).toBe("INSUFFICIENT_PERMISSIONS");
    expect((await manage(gateway, "DELETE", "/services/api")).status).toBe(204);
  });

  test("A key creates, changes and rotates no key that would lift its own restrictions", async () => {
    const { gateway } = await start();
    const soon = new Date(Date.now() + 3_600_000).toISOString();
    const later = new Date(Date.now() + 7_200_000).toISOString();
    const rateLimit = { maxRequests: 60, windowMs: 60_000 };
    const held = { expiresAt: soon, allowIps: ["127.0.0.0/8", "2001:db8::/32"], rateLimit };
    const { id, key } = await issue(gateway, ["manage:keys", "api:read"], held);
    const like = { name: "mine", permissions: ["api:GET"], ...held };
    for (const more of [
      { expiresAt: null },
      { expiresAt: later },
      { allowIps: [] },
      { allowIps: ["0.0.0.0/0"] },
      { allowIps: ["127.0.0.1", "10.0.0.1"] },
      { allowIps: ["2001:db00::/24"] },
      { rateLimit: null },
      { rateLimit: { maxRequests: 61, windowMs: 60_000 } },
      { rateLimit: { maxRequests: 60, windowMs: 1_000 } },
    ]) {
      const refused = "INSUFFICIENT_PERMISSIONS";
      expect(await operate(gateway, key, "PATCH", `/keys/${id}`, more), JSON.stringify(more)).toBe(refused);
      expect(await operate(gateway, key, "POST", "/keys", { ...like, ...more }), JSON.stringify(more)).toBe(refused);
    }
    const free = await issue(gateway, ["api:read"]);
    expect(await operate(gateway, key, "POST", `/keys/${free.id}/rotate`)).toBe("INSUFFICIENT_PERMISSIONS");
    for (const less of [{}, { allowIps: ["127.0.0.1"] }, { rateLimit: { maxRequests: 1, windowMs: 60_000 } }]) {
      expect(await operate(gateway, key, "POST", "/keys", { ...like, ...less }), JSON.stringify(less)).toBe(201);
    }
    expect(await operate(gateway, key, "PATCH", `/keys/${id}`, { name: "renamed" })).toBe(200);
  });

  test("A permission is decided by the route, in any spelling of its path, and reads no more than it names", async () => {
    const { gateway } = await start();
    const victim = await issue(gateway, ["api:read"]);
    const { key } = await issue(gateway, ["manage:services"]);
    const refused = "INSUFFICIENT_PERMISSIONS";
    for (const path of [`/%6beys/${victim.id}`, `/key%73/${victim.id}`, `/keys/${victim.id}?a=/manage/services`]) {
      expect([refused, "NOT_FOUND"], path).toContain(await operate(gateway, key, "DELETE", path));
    }
    for (const path of ["/%6beys", "/keys", "/audit", "/diagnostics", "/quota", "/key-debug"]) {
      expect([refused, "NOT_FOUND"], path).toContain(await operate(gateway, key, "GET", path));
    }
    expect((await manage(gateway, "GET", `/keys/${victim.id}`)).body.state).toBe("active");
  });

  test("A key grants no more than it holds, by creating, changing or rotating a key", async () => {
    const { gateway } = await start();
    const strong = await issue(gateway, ["*:*"]);
    const { key } = await issue(gateway, ["manage:keys", "api:read"]);
    for (const permissions of [
      ["api:write"],
      ["*:read"],
      ["manage:*"],
      ["manage:services"],
      ["api:read", "other:GET"],
    ]) {
      expect(await operate(gateway, key, "POST", "/keys", { name: "more", permissions })).toBe(
        "INSUFFICIENT_PERMISSIONS",
      );
    }
    expect(await operate(gateway, key, "POST", `/keys/${strong.id}/rotate`)).toBe("INSUFFICIENT_PERMISSIONS");
    expect(await operate(gateway, key, "PATCH", `/keys/${strong.id}`, { name: "x" })).toBe("INSUFFICIENT_PERMISSIONS");
  });
});

test.each([
  [{}, { name: expect.anything(), permissions: expect.anything() }],
  [{ name: "a", permissions: [] }, { permissions: expect.anything() }],
  [{ name: "a", permissions: ["github"] }, { permissions: [expect.stringContaining("github")] }],
  [{ name: "a\nb", permissions: ["a:read"] }, { name: expect.anything() }],
  [{ name: "a", permissions: ["a:read"], expiresAt: "2001-01-01T00:00:00Z" }, { expiresAt: expect.anything() }],
  [{ name: "a", permissions: ["a:read"], expiresAt: "tomorrow" }, { expiresAt: expect.anything() }],
  [
    { name: "a", permissions: ["a:read"], allowIps: ["300.1.1.1"] },
    { allowIps: [expect.stringContaining("300.1.1.1")] },
  ],
  [{ name: "a", permissions: ["a:read"], constructor: 1 }, { constructor: expect.anything() }],
  [[], { body: expect.anything() }],
])("A key that is not valid is refused field by field: %j", async (body, details) => {
  const { gateway } = await start();
  const refused = await manage(gateway, "POST", "/keys", body);
  expect([refused.status, refused.body.code]).toEqual([400, "VALIDATION_ERROR"]);
  expect(refused.body.details).toMatchObject(details);
  expect((await manage(gateway, "GET", "/keys")).body.count).toBe(0);
});

describe("guessing", () => {
  const guess = (gateway: TestGateway, path: string, key = `guess-${Math.random()}`) =>
    fetch(gateway.url + path, { headers: { "x-api-key": key } });

  test.each([
    ["/proxy/api/x", "on the proxy plane"],
    ["/manage/services", "on the management plane"],
    ["/proxy/services", "at the lists of callers"],
    ["/status", "where a key only shows more"],
  ])("Guessing ends after ten unknown keys: at %s, %s", async (path) => {
    const { gateway } = await start();
    for (let i = 0; i < 10; i++) await guess(gateway, path);
    const locked = await guess(gateway, "/manage/keys", MANAGEMENT_KEY);
    expect([locked.status, locked.headers.get("x-proxy-error")]).toEqual([429, "TOO_MANY_AUTH_FAILURES"]);
    expect(Number(locked.headers.get("retry-after"))).toBeGreaterThan(50);
    const status = (await (await guess(gateway, "/status", MANAGEMENT_KEY)).json()) as { services: object[] };
    expect(JSON.stringify(status.services)).not.toContain("baseUrl");
    expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(401);
  });

  test("The lock-out affects no key that worked from the address, no ended key, and no key for the other plane", async () => {
    const { gateway } = await start();
    const { id, key } = await issue(gateway, ["api:read"]);
    expect((await ask(gateway, key)).status).toBe(200);
    await manage(gateway, "DELETE", `/keys/${id}`);
    for (let i = 0; i < 12; i++) expect((await ask(gateway, key)).status).toBe(401);
    for (let i = 0; i < 12; i++) expect((await ask(gateway, MANAGEMENT_KEY)).status).toBe(401);
    for (let i = 0; i < 12; i++) expect((await fetch(`${gateway.url}/proxy/api/x`)).status).toBe(401);
    expect((await ask(gateway, PROXY_KEY)).status).toBe(200);
    for (let i = 0; i < 10; i++) await guess(gateway, "/proxy/api/x");
    expect((await guess(gateway, "/proxy/api/x")).status).toBe(429);
    expect((await ask(gateway, PROXY_KEY)).status).toBe(200);
    expect((await manage(gateway, "GET", "/keys")).status).toBe(200);
  });
});

test("GET /manage/keys with more keys than fit in one chunk lists all of them, newest first", async () => {
  const folder = tempFolder();
  const records = openFileRecords(join(folder, "keys.json"), isStoredKey);
  const key = (index: number) => ({
    name: `key ${index}`,
    permissions: ["api:read"],
    createdAt: new Date(1_700_000_000_000 + index).toISOString(),
    createdBy: "management-key",
    expiresAt: null,
    revokedAt: null,
    rateLimit: null,
    allowIps: [],
    digests: [{ sha256: digestOf(`${index}`), validUntil: null }],
  });
  await Promise.all(Array.from({ length: 1_001 }, (_, index) => records.put(`key_${index}`, key(index))));
  await records.close();
  const { gateway } = await start({ stores: await openFileStores(folder, isStoredService, isStoredKey) });
  const { status, body } = await manage(gateway, "GET", "/keys");
  expect([status, body.count]).toEqual([200, 1_001]);
  const ids = (body.keys as { id: string }[]).map(({ id }) => id);
  expect(ids).toEqual(Array.from({ length: 1_001 }, (_, index) => `key_${1_000 - index}`));
});
