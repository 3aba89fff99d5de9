/** The change of a service from its current secret to the next one, with a real gateway and a real upstream. */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { AuditEntry } from "../../src/callers/audit.ts";
import { isStoredKey, type StoredKey } from "../../src/callers/issued-key.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { isStoredService, type StoredService } from "../../src/services/stored-services.ts";
import { createMemoryStores, openFileStores } from "../../src/stores/open-stores.ts";
import { createRecords } from "../../src/stores/records.ts";
import type { StoredPromotion } from "../../src/stores/stored-promotion.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const OLD = "the-secret-before-the-rotation";
const NEW = "the-secret-after-the-rotation";

/** Counts the requests by token, and refuses the tokens of `refused`. */
async function startVendor() {
  const refused = new Set<string>();
  const counts = new Map<string, number>();
  /** The status of responses at the base URL to the current secret; 0 for the usual ones. */
  const atBase = { status: 0 };
  const upstream = await startUpstream((req, res) => {
    req.resume();
    const token = String(req.headers.authorization).replace("Bearer ", "");
    const path = String(req.url);
    if (path !== "/") counts.set(token, (counts.get(token) ?? 0) + 1);
    const isRefused = refused.has(token) || refused.has(`${token} ${path}`) || (path === "/" && refused.has("probe"));
    res.statusCode = isRefused ? 401 : path === "/" && token === OLD ? atBase.status || 200 : 200;
    res.end(`got ${token}`);
  });
  return { ...upstream, refused, counts, atBase };
}

const AUTH = { type: "bearer", tokenEnvVar: "TOKEN", nextTokenEnvVar: "NEXT_TOKEN" } as const;

interface Setup {
  readonly auth?: Partial<NonNullable<ServiceInput["auth"]>>;
  readonly env?: Record<string, string>;
  /** DATA_DIR. */
  readonly folder?: string;
  readonly isFull?: () => boolean;
  readonly vendor?: Awaited<ReturnType<typeof startVendor>>;
  readonly service?: object;
}

async function open({ auth = AUTH, env: more = {}, folder, isFull, vendor: running, service }: Setup = {}) {
  const vendor = running ?? (await startVendor());
  // Read again at each reload.
  const env: Record<string, string> = {
    ...{ MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", TOKEN: OLD, NEXT_TOKEN: NEW },
    ...more,
  };
  const promotions = createRecords<StoredPromotion>(async () => {
    if (isFull?.()) throw new Error("the disk is full");
  });
  const stores =
    folder === undefined
      ? { stores: { ...createMemoryStores<StoredService, AuditEntry, StoredKey>(), promotions } }
      : { stores: await openFileStores<StoredService, AuditEntry, StoredKey>(folder, isStoredService, isStoredKey) };
  const services = {
    api: { baseUrl: vendor.url, auth: auth as NonNullable<ServiceInput["auth"]>, scrubBodies: true, ...service },
  };
  const gateway = await startGateway({ env, services, ...stores });
  const get = (path = "x", init: RequestInit = {}) => ask(`${gateway.url}/proxy/api/${path}`, init);
  const stage = async () => (await statusOf(gateway)).rotation?.stage;
  return { vendor, env, gateway, get, stage };
}

async function ask(url: string, init: RequestInit = {}) {
  const response = await fetch(url, init);
  return { status: response.status, text: await response.text() };
}

async function manage(gateway: TestGateway, method: string, path: string, body?: unknown) {
  const headers = { authorization: `Bearer ${MANAGEMENT_KEY}`, "content-type": "application/json" };
  const sent = body === undefined ? {} : { body: JSON.stringify(body) };
  const response = await fetch(`${gateway.url}${path}`, { method, headers, ...sent });
  const text = await response.text();
  return { status: response.status, text, json: text === "" ? undefined : JSON.parse(text) };
}

const ROTATE = "/manage/services/api/credential/rotate";
const rotate = (gateway: TestGateway, body?: unknown) => manage(gateway, "POST", ROTATE, body);
const cancel = (gateway: TestGateway) => manage(gateway, "DELETE", ROTATE);

async function statusOf(gateway: TestGateway) {
  return (await manage(gateway, "GET", "/status")).json.services.find(({ key }: { key: string }) => key === "api")
    .credential;
}

async function checkOf(gateway: TestGateway) {
  const { checks } = (await manage(gateway, "GET", "/manage/diagnostics")).json;
  return checks.find(({ id }: { id: string }) => id === "credential:api");
}

async function actionsOf(gateway: TestGateway) {
  const { entries } = (await manage(gateway, "GET", "/manage/audit")).json;
  return entries.map(({ action, caller, after }: Record<string, unknown>) => ({ action, caller, after }));
}

function tempFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-rotation-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, "data");
  mkdirSync(data);
  return data;
}

test("A quarter of the requests has the next secret, then all have it, also after a reload and a restart", async () => {
  const folder = tempFolder();
  const { vendor, gateway, get, stage, env } = await open({ folder });
  expect(await stage()).toBe("ready");
  const begun = await rotate(gateway, { share: 0.25, seconds: 600 });
  expect(begun.status).toBe(202);
  expect(begun.json).toMatchObject({ probe: "accepted", rotation: { stage: "sharing", share: 0.25 } });
  for (let sent = 0; sent < 400; sent += 40) await Promise.all(Array.from({ length: 40 }, () => get()));
  expect(vendor.counts.get(NEW)).toBe(100);
  expect(vendor.counts.get(OLD)).toBe(300);
  await cancel(gateway);
  await rotate(gateway, { share: 1, seconds: 1 });
  await eventually(async () => (await stage()) === "promoted", "the promotion");
  vendor.refused.add(OLD);
  const sendsNew = async (ofGateway: { get: typeof get }) => {
    const { status, text } = await ofGateway.get();
    expect(status).toBe(200);
    expect(text).toBe(`got ${"*".repeat(NEW.length)}`);
  };
  await sendsNew({ get });
  await gateway.reload();
  await sendsNew({ get });
  await eventually(async () => (await actionsOf(gateway)).length === 4, "the entry of the promotion");
  expect(await actionsOf(gateway)).toMatchObject([
    { action: "credential.promote", caller: "gateway", after: { requests: 0 } },
    { action: "credential.rotate", after: { share: 1, seconds: 1, probe: "accepted" } },
    { action: "credential.cancel" },
    { action: "credential.rotate", after: { share: 0.25 } },
  ]);
  expect((await rotate(gateway)).json).toMatchObject({ code: "CREDENTIAL_ROTATION_CONFLICT" });
  expect(await checkOf(gateway)).toMatchObject({
    status: "warn",
    evidence: { source: "TOKEN", rotation: { stage: "promoted", source: "NEXT_TOKEN" } },
  });
  await gateway.close();
  expect(readFileSync(join(folder, "rotations.json"), "utf8")).not.toContain("secret-");

  const after = await open({ folder, vendor });
  expect(await after.stage()).toBe("promoted");
  await sendsNew(after);
  // The operator removes the secret before without the other one in its place.
  Object.assign(after.env, { TOKEN: "" });
  await after.gateway.reload();
  await sendsNew(after);
  expect(await statusOf(after.gateway)).toMatchObject({ state: "present", rotation: { stage: "promoted" } });
  expect(await checkOf(after.gateway)).toMatchObject({
    status: "warn",
    summary: expect.stringContaining("api uses its next secret, that of NEXT_TOKEN, for all requests"),
  });
  // The operator finishes the change.
  Object.assign(after.env, { TOKEN: NEW });
  await after.gateway.reload();
  expect((await statusOf(after.gateway)).rotation).toBeUndefined();
  await sendsNew(after);
  // Another current secret: what was promoted instead of the one before says nothing about it.
  Object.assign(after.env, { TOKEN: "a-third-secret-of-the-operator" });
  await after.gateway.reload();
  expect(await after.stage()).toBe("ready");
  await after.get();
  expect(vendor.counts.get("a-third-secret-of-the-operator")).toBe(1);
  expect(env).not.toBe(after.env);
});

test("A next secret that the upstream refuses is rolled back at its first request, and no caller sees the 401", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(`${NEW} /x`);
  expect((await rotate(gateway, { share: 0.5, seconds: 600 })).status).toBe(202);
  const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await get()).status));
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(await stage()).toBe("rolled-back");
  const { rotation } = await statusOf(gateway);
  expect(rotation.reason).toContain("with 401 to the next secret and with 200 to the current one");
  expect(rotation).toMatchObject({ share: null, until: null });
  const sent = vendor.counts.get(NEW);
  await get();
  expect(vendor.counts.get(NEW)).toBe(sent);
  expect((await actionsOf(gateway))[0]).toMatchObject({ action: "credential.roll-back", caller: "gateway" });
  expect(gateway.lines()).toContainEqual(
    expect.objectContaining({ msg: "the rotation of the credential of api was rolled back" }),
  );
});

test("A 401 to both secrets says nothing about the next one, and a 401 to the current one alone is answered with the next", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(`${NEW} /private`).add(`${OLD} /private`);
  expect((await rotate(gateway, { share: 0.5, seconds: 600 })).status).toBe(202);
  expect((await get("private")).status).toBe(401);
  expect((await get("private")).status).toBe(401);
  expect(await stage()).toBe("sharing");
  vendor.refused.clear();
  vendor.refused.add(OLD);
  const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await get()).status));
  expect(new Set(statuses)).toEqual(new Set([200]));
  expect(await stage()).toBe("sharing");
});

test("A refused POST is not sent twice: its 401 rolls the next secret back, unless the current one was refused too", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(`${NEW} /x`);
  await rotate(gateway, { share: 1, seconds: 600 });
  expect((await get("x", { method: "POST", body: "1" })).status).toBe(401);
  expect(await stage()).toBe("rolled-back");
  expect(vendor.counts.get(OLD)).toBeUndefined();

  vendor.refused.add(`${OLD} /x`);
  await rotate(gateway, { share: 0.5, seconds: 600 });
  const post = async (path: string) => (await get(path, { method: "POST", body: "1" })).status;
  expect([await post("x"), await post("x")]).toEqual([401, 401]);
  expect(await stage()).toBe("rolled-back");

  // The POSTs have the current secret first, and then the next one.
  await rotate(gateway, { share: 0.5, seconds: 600 });
  await get("ok");
  expect([await post("x"), await post("x")]).toEqual([401, 401]);
  expect(await stage()).toBe("sharing");
});

test("A caller who causes a 401 does not protect a next secret that other requests are refused with", async () => {
  const { vendor, gateway, get, stage } = await open();
  for (const token of [OLD, NEW]) vendor.refused.add(`${token} /refused-path`);
  vendor.refused.add(`${NEW} /x`);
  await rotate(gateway, { share: 1, seconds: 600 });
  expect((await get("refused-path")).status).toBe(401);
  expect((await get("refused-path", { method: "POST", body: "1" })).status).toBe(401);
  expect(await stage()).toBe("rolled-back");
  await rotate(gateway, { share: 1, seconds: 600 });
  await get("refused-path");
  expect((await get("x", { method: "POST", body: "1" })).status).toBe(401);
  expect(await stage()).toBe("rolled-back");
  expect((await get("x", { method: "POST", body: "1" })).status).toBe(200);
});

test("Where the current secret is refused and the next one is accepted, no other 401 ends the rotation", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(OLD).add(`${NEW} /refused-path`);
  await rotate(gateway, { share: 0.5, seconds: 600 });
  await get();
  expect((await get()).status).toBe(200);
  const statuses = [];
  for (let sent = 0; sent < 4; sent++) statuses.push((await get("refused-path", { method: "POST", body: "1" })).status);
  expect(statuses).toEqual([401, 401, 401, 401]);
  expect(await stage()).toBe("sharing");
});

test("A refused WebSocket handshake rolls the next secret back", async () => {
  const server = createServer();
  server.on("upgrade", (req, socket) => {
    const isRefused = req.headers.authorization === `Bearer ${NEW}`;
    socket.end(`HTTP/1.1 ${isRefused ? "401 Unauthorized" : "403 Forbidden"}\r\nContent-Length: 0\r\n\r\n`);
  });
  const vendor = {
    ...(await startUpstream(undefined, server)),
    refused: new Set<string>(),
    counts: new Map(),
    atBase: { status: 0 },
  };
  const { gateway, stage } = await open({ vendor, service: { ws: true } });
  await rotate(gateway, { share: 1, seconds: 600 });
  const shakeHands = async () => {
    const headers = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13" };
    const key = { "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
    const req = request(`${gateway.url}/proxy/api/ws`, { headers: { ...headers, ...key } }).end();
    const [res] = (await once(req, "response")) as [IncomingMessage];
    res.resume();
    return res.statusCode;
  };
  expect(await shakeHands()).toBe(401);
  expect(await stage()).toBe("rolled-back");
  expect(await shakeHands()).toBe(403);
});

test("The next secret is probed first: a 401 to it alone ends the rotation, and a 401 to both does not", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(`${NEW} /`);
  const refused = await rotate(gateway);
  expect(refused.status).toBe(422);
  expect(refused.json).toMatchObject({
    code: "NEXT_CREDENTIAL_REFUSED",
    message: expect.stringContaining("with 401 to the next secret and with 200 to the current one"),
  });
  expect(await stage()).toBe("rolled-back");
  await get();
  expect(vendor.counts.get(NEW)).toBeUndefined();
  // An upstream that is overloaded says nothing about the current secret.
  vendor.atBase.status = 503;
  expect((await rotate(gateway)).json).toMatchObject({ probe: "unknown", rotation: { stage: "sharing" } });
  await cancel(gateway);
  vendor.atBase.status = 0;
  vendor.refused.add("probe");
  const begun = await rotate(gateway);
  expect(begun.json).toMatchObject({ probe: "unknown", rotation: { stage: "sharing", share: 0.1 } });
});

test("A rotation that cannot begin is 409 with the reason, and a wrong order is 400 with the bounds", async () => {
  const { gateway, env, stage } = await open();
  const expectConflict = async (text: string) => {
    const { status, json } = await rotate(gateway);
    expect({ status, ...json }).toMatchObject({ status: 409, code: "CREDENTIAL_ROTATION_CONFLICT" });
    expect(`${json.message} ${json.hint}`).toContain(text);
  };
  for (const body of [{ share: 0 }, { share: 1.1 }, { seconds: 0 }, { seconds: 1.5 }, { seconds: 604_801 }, []]) {
    expect((await rotate(gateway, body)).status, JSON.stringify(body)).toBe(400);
  }
  expect((await rotate(gateway, { share: 2 })).json.details).toEqual({ share: ["allowed: a number from 0.001 to 1"] });
  expect((await rotate(gateway, { portion: 1 })).status).toBe(400);
  expect((await cancel(gateway)).status).toBe(409);
  const both = await Promise.all([rotate(gateway), rotate(gateway)]);
  expect(both.map(({ status }) => status).sort()).toEqual([202, 409]);
  await expectConflict("A rotation of the credential of api is already running.");
  expect((await cancel(gateway)).status).toBe(204);
  expect(await stage()).toBe("ready");
  env.NEXT_TOKEN = OLD;
  await gateway.reload();
  await expectConflict("The next secret of api is the same as the current one.");
  env.NEXT_TOKEN = "";
  await gateway.reload();
  await expectConflict("The next secret of api is missing: NEXT_TOKEN is empty or not set.");
  Object.assign(env, { TOKEN: "", NEXT_TOKEN: NEW });
  await gateway.reload();
  await expectConflict("The current secret of api is missing: TOKEN is empty or not set.");
  writeFileSync(
    join(gateway.directory, "services.json"),
    JSON.stringify({ services: { api: { baseUrl: "http://127.0.0.1:9/" } } }),
  );
  await gateway.reload();
  await expectConflict("Add nextTokenEnvVar or nextTokenFile to auth and reload.");
  expect((await manage(gateway, "POST", "/manage/services/none/credential/rotate")).status).toBe(404);
});

test("An operator takes a promotion back, and the current secret is used again", async () => {
  const { vendor, gateway, get, stage } = await open();
  await rotate(gateway, { share: 1, seconds: 1 });
  await eventually(async () => (await stage()) === "promoted", "the promotion");
  expect((await cancel(gateway)).status).toBe(204);
  expect(await stage()).toBe("ready");
  await get();
  expect(vendor.counts).toEqual(new Map([[OLD, 1]]));
  expect((await actionsOf(gateway))[0]).toMatchObject({ action: "credential.cancel" });
});

test("A next secret that no request was accepted with is not promoted, whatever the current one is refused", async () => {
  const { vendor, gateway, get, stage } = await open();
  vendor.refused.add(OLD).add(NEW);
  expect((await rotate(gateway, { share: 1, seconds: 1 })).json.probe).toBe("unknown");
  expect((await get()).status).toBe(401);
  await eventually(async () => (await stage()) !== "sharing", "the end");
  expect((await statusOf(gateway)).rotation).toMatchObject({
    stage: "rolled-back",
    reason: expect.stringContaining("to every request with the next secret"),
  });
  await rotate(gateway, { share: 1, seconds: 1 });
  expect((await get()).status).toBe(401);
  vendor.refused.delete(NEW);
  expect((await get()).status).toBe(200);
  await eventually(async () => (await stage()) !== "sharing", "the end");
  expect(await stage()).toBe("promoted");
});

test("A promotion that cannot be stored rolls back, and one that cannot be removed stays, with 503", async () => {
  let isFull = true;
  const { gateway, get, stage, vendor } = await open({ isFull: () => isFull });
  await rotate(gateway, { share: 1, seconds: 1 });
  await eventually(async () => (await stage()) === "rolled-back", "the roll-back");
  expect((await statusOf(gateway)).rotation.reason).toContain("could not be stored in DATA_DIR");
  isFull = false;
  await rotate(gateway, { share: 1, seconds: 1 });
  await eventually(async () => (await stage()) === "promoted", "the promotion");
  isFull = true;
  expect((await cancel(gateway)).json).toMatchObject({ code: "STORE_UNAVAILABLE", status: 503 });
  await get();
  expect([await stage(), vendor.counts.get(NEW)]).toEqual(["promoted", 1]);
  isFull = false;
  expect((await cancel(gateway)).status).toBe(204);
});

test("A cancellation during the probe ends the rotation, also where another one follows at once", async () => {
  const held: ServerResponse[] = [];
  const upstream = await startUpstream((req, res) => {
    req.resume();
    if (held.push(res) > 1) res.end();
  });
  const vendor = { ...(await startVendor()), ...upstream };
  const { gateway } = await open({ vendor });
  const first = rotate(gateway, { share: 1, seconds: 600 });
  await eventually(() => held.length === 1, "the probe");
  expect((await rotate(gateway)).status).toBe(409);
  expect((await cancel(gateway)).status).toBe(204);
  expect((await rotate(gateway, { share: 0.5, seconds: 600 })).status).toBe(202);
  held[0]?.end();
  expect(await first).toMatchObject({ status: 409, json: { code: "CREDENTIAL_ROTATION_CONFLICT" } });
  expect((await statusOf(gateway)).rotation).toMatchObject({ stage: "sharing", share: 0.5 });
});

test("Other secrets after a reload or in a file end a rotation that runs, and a reload without a change keeps it", async () => {
  const folder = tempFolder();
  const file = join(folder, "next");
  writeFileSync(file, `${NEW}\n`);
  const { gateway, env, stage, get, vendor } = await open({
    auth: { type: "bearer", tokenEnvVar: "TOKEN", nextTokenFile: file },
  });
  await rotate(gateway, { share: 1, seconds: 600 });
  await gateway.reload();
  expect(await stage()).toBe("sharing");
  writeFileSync(file, "another-next-secret\n");
  expect(await gateway.refreshTokens()).toMatchObject({ changed: ["api"] });
  expect(await stage()).toBe("ready");
  expect((await actionsOf(gateway))[0]).toMatchObject({
    action: "credential.roll-back",
    after: { reason: "the secrets were changed meanwhile" },
  });
  writeFileSync(file, "");
  await gateway.refreshTokens();
  expect((await statusOf(gateway)).rotation).toBeUndefined();
  writeFileSync(file, NEW);
  await gateway.refreshTokens();
  await rotate(gateway, { share: 1, seconds: 600 });
  env.TOKEN = "another-current-secret";
  await gateway.reload();
  expect(await stage()).toBe("ready");
  await get();
  expect(vendor.counts).toEqual(new Map([["another-current-secret", 1]]));
  await rotate(gateway, { share: 1, seconds: 600 });
  writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: {} }));
  await gateway.reload();
  const isEnded = ({ after }: { after?: { reason?: string } }) => after?.reason?.includes("was removed meanwhile");
  await eventually(
    async () => (await actionsOf(gateway)).some(isEnded),
    "the end of the rotation of a removed service",
  );
});

test("A service over REST names the next secret only if the file sends it to the same place of the same origin", async () => {
  const { vendor, gateway } = await open({ env: { REST_SECRETS: "" } });
  const put = async (key: string, auth: object) =>
    (await manage(gateway, "PUT", `/manage/services/${key}`, { baseUrl: vendor.url, auth, scrubBodies: true })).status;
  expect(await put("same", AUTH)).toBe(201);
  expect(await put("swapped", { ...AUTH, tokenEnvVar: "NEXT_TOKEN", nextTokenEnvVar: "TOKEN" })).toBe(201);
  expect(await put("other", { ...AUTH, nextTokenEnvVar: "HOME" })).toBe(403);
  const inHeader = { type: "api-key", headerName: "x-key", tokenEnvVar: "TOKEN", nextTokenEnvVar: "NEXT_TOKEN" };
  expect(await put("elsewhere", inHeader)).toBe(403);
  expect(await put("own", { ...AUTH, nextTokenEnvVar: "MANAGEMENT_API_KEY" })).toBe(403);
});

test("Neither secret is in the log, the status, metrics, diagnostics, the audit or an error", async () => {
  const { vendor, gateway, get } = await open();
  await rotate(gateway, { share: 0.5, seconds: 600 });
  const shown = [await get(), await get(`echo?q=${NEW}`)].map(({ text }) => text);
  vendor.refused.add(`${NEW} /x`);
  await get();
  vendor.refused.add(`${NEW} /`);
  shown.push((await rotate(gateway)).text);
  for (const path of ["/status", "/metrics", "/manage/diagnostics", "/manage/audit", "/manage/services"]) {
    const headers = { authorization: `Bearer ${MANAGEMENT_KEY}` };
    shown.push((await ask(`${gateway.url}${path}`, { headers })).text);
  }
  const explained = await manage(gateway, "POST", "/manage/explain", { method: "GET", path: "/proxy/api/x" });
  expect(explained.json.credential.rotation).toMatchObject({ stage: "rolled-back" });
  shown.push(explained.text);
  const text = [...shown, gateway.logText()].join("\n");
  expect(text).toContain("NEXT_TOKEN");
  for (const secret of [OLD, NEW]) expect(text).not.toContain(secret);
});

test("Quotes around the next secret are reported", async () => {
  const { gateway } = await open({ env: { NEXT_TOKEN: `"${NEW}"` } });
  const { status, summary } = await checkOf(gateway);
  expect([status, summary]).toEqual(["warn", expect.stringContaining("the next secret of api")]);
});
