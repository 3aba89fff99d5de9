/** When credentials expire, when they were used, and what their upstream says about them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import type { AuditEntry } from "../../src/callers/audit.ts";
import { isStoredKey, type StoredKey } from "../../src/callers/issued-key.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { isStoredService, type StoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const DAY_MS = 86_400_000;
const SECRET = "the-secret-of-the-service";
const authorization = `Bearer ${MANAGEMENT_KEY}`;

const jwtThatEndsAt = (at: number) => jwtWithEnd(String(Math.round(at / 1_000)));

/** @param exp in JSON. */
function jwtWithEnd(exp: string): string {
  const part = (json: string) => Buffer.from(json).toString("base64url");
  return `${part('{"alg":"HS256"}')}.${part(`{"exp":${exp}}`)}.c2lnbmF0dXJl`;
}

const bearer = (tokenEnvVar: string): ServiceInput["auth"] => ({ type: "bearer", tokenEnvVar });

async function read(gateway: TestGateway, path: string) {
  const response = await fetch(`${gateway.url}${path}`, { headers: { authorization } });
  return response.text();
}

async function lifeOf(gateway: TestGateway, key: string) {
  const { services } = JSON.parse(await read(gateway, "/status"));
  return services.find((service: { key: string }) => service.key === key).credential.life;
}

async function checkOf(gateway: TestGateway, key: string) {
  const { checks } = JSON.parse(await read(gateway, "/manage/diagnostics"));
  return checks.find(({ id }: { id: string }) => id === `credential:${key}`);
}

test("The end of a secret that is a JSON Web Token is in the status, the metrics and the diagnostics", async () => {
  const upstream = await startUpstream();
  const ends = { OVER: Date.now() - 5_000, SOON: Date.now() + 13 * DAY_MS, LATER: Date.now() + 60 * DAY_MS };
  const tokens = Object.entries(ends).map(([name, at]) => [name, jwtThatEndsAt(at)]);
  const service = (name: string) => ({ baseUrl: upstream.url, auth: bearer(name) });
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...Object.fromEntries(tokens), PLAIN: SECRET },
    services: { over: service("OVER"), soon: service("SOON"), later: service("LATER"), plain: service("PLAIN") },
  });
  const seconds = (at: number) => Math.round(at / 1_000);
  expect(await lifeOf(gateway, "soon")).toMatchObject({
    expiresAt: new Date(seconds(ends.SOON) * 1_000).toISOString(),
    renewedBy: "operator",
    lastUsedAt: null,
    scopes: null,
  });
  expect((await lifeOf(gateway, "plain")).expiresAt).toBeNull();
  const metrics = await read(gateway, "/metrics");
  const series = (key: string) => `byteproxy_credential_expires_seconds{service="${key}",renewed_by="operator"}`;
  expect(metrics).toContain(`${series("later")} ${seconds(ends.LATER)}\n`);
  expect(metrics).not.toContain(series("plain"));
  expect(await checkOf(gateway, "over")).toMatchObject({
    status: "fail",
    summary: expect.stringContaining("the credential of over expired at"),
  });
  expect(await checkOf(gateway, "soon")).toMatchObject({
    status: "warn",
    summary: expect.stringContaining("the credential of soon expires at"),
  });
  expect(await checkOf(gateway, "later")).toMatchObject({ status: "ok" });
  const shown = [
    metrics,
    await read(gateway, "/status"),
    await read(gateway, "/manage/diagnostics"),
    gateway.logText(),
  ];
  for (const [, token] of tokens) expect(shown.join("\n")).not.toContain(token);
});

test("An end that is no date is not shown, and breaks neither the status nor the diagnostics", async () => {
  const upstream = await startUpstream();
  const ends = { huge: "1e300", negative: "-1e300", late: "9007199254740991", infinite: "1e400", text: '"5"' };
  const services = Object.keys(ends).map((key) => [key, { baseUrl: upstream.url, auth: bearer(key.toUpperCase()) }]);
  const tokens = Object.entries(ends).map(([key, exp]) => [key.toUpperCase(), jwtWithEnd(exp)]);
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...Object.fromEntries(tokens) },
    services: Object.fromEntries(services),
  });
  for (const key of Object.keys(ends)) {
    expect((await lifeOf(gateway, key)).expiresAt).toBeNull();
    expect((await checkOf(gateway, key)).evidence).toMatchObject({ life: { expiresAt: null } });
  }
  expect(await read(gateway, "/metrics")).not.toContain("byteproxy_credential_expires_seconds{");
});

test("What an upstream says about the end and the scopes of a token is shown, without a secret", async () => {
  const upstream = await startUpstream((req, res) => {
    res.setHeader("github-authentication-token-expiration", "2126-12-31 23:59:59 UTC");
    res.setHeader("x-oauth-scopes", req.url === "/echo" ? `repo, ${SECRET}` : "repo, gist");
    res.setHeader("x-accepted-oauth-scopes", "repo");
    res.end("ok");
  });
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: SECRET },
    services: { api: { baseUrl: upstream.url, auth: bearer("TOKEN") } },
  });
  const get = async (path: string) => (await fetch(`${gateway.url}/proxy/api/${path}`)).text();
  await get("x");
  const life = await lifeOf(gateway, "api");
  expect(life).toMatchObject({
    expiresAt: "2126-12-31T23:59:59.000Z",
    scopes: { granted: ["repo", "gist"], unneeded: null, responses: 1 },
  });
  expect(Date.now() - Date.parse(life.lastUsedAt)).toBeLessThan(60_000);
  await get("echo");
  expect((await checkOf(gateway, "api")).evidence.life.scopes).toBeNull();
  expect(await read(gateway, "/status")).not.toContain(SECRET);
});

test("The last use is known after a restart, a credential without use for 30 days is reported, and another secret begins its own life", async () => {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-life-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const data = join(folder, "data");
  mkdirSync(data);
  const upstream = await startUpstream();
  const env: Record<string, string> = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: SECRET };
  const open = async () =>
    startGateway({
      env,
      stores: await openFileStores<StoredService, AuditEntry, StoredKey>(data, isStoredService, isStoredKey),
      services: { api: { baseUrl: upstream.url, auth: bearer("TOKEN") }, open: { baseUrl: upstream.url } },
    });
  const before = await open();
  await (await fetch(`${before.url}/proxy/api/x`)).text();
  const { lastUsedAt, since } = await lifeOf(before, "api");
  expect(await lifeOf(before, "open")).toBeUndefined();
  await before.close();

  const file = join(data, "credential-uses.json");
  expect(readFileSync(file, "utf8")).not.toContain(SECRET);
  const after = await open();
  expect(await lifeOf(after, "api")).toMatchObject({ since });
  expect(Date.parse(lastUsedAt) - Date.parse((await lifeOf(after, "api")).lastUsedAt)).toBeLessThan(3_600_000);
  expect((await checkOf(after, "api")).status).toBe("ok");
  await after.close();

  // 31 days later.
  const aged = readFileSync(file, "utf8").replace(
    /("(?:since|usedAt)":)(\d+)/g,
    (_, name, at) => name + (at - 31 * DAY_MS),
  );
  writeFileSync(file, aged);
  const later = await open();
  expect(await checkOf(later, "api")).toMatchObject({
    status: "warn",
    summary: expect.stringContaining("no request has had the credential of api for 31 days"),
  });
  env.TOKEN = "another-secret-of-the-service";
  await later.reload();
  expect((await lifeOf(later, "api")).lastUsedAt).toBeNull();
  expect((await checkOf(later, "api")).status).toBe("ok");
  await later.close();

  // A clock that was not set at the start before, and one that was ahead.
  for (const at of [60_000, Date.now() + 900 * DAY_MS]) {
    writeFileSync(file, readFileSync(file, "utf8").replace(/("(?:since|usedAt|seenAt)":)\d+/g, `$1${at}`));
    const corrected = await open();
    const life = await lifeOf(corrected, "api");
    expect(Math.abs(Date.parse(life.since) - Date.now())).toBeLessThan(60_000);
    expect(life.lastUsedAt).toBeNull();
    expect((await checkOf(corrected, "api")).status).toBe("ok");
    await corrected.close();
  }
});

test("A secret that a command printed awaits no reload, and another next secret does", async () => {
  const upstream = await startUpstream();
  const env: Record<string, string> = {
    MANAGEMENT_API_KEY: MANAGEMENT_KEY,
    TOKEN: SECRET,
    NEXT_TOKEN: "the-next-secret",
  };
  const gateway = await startGateway({
    env,
    services: {
      printed: { baseUrl: upstream.url, auth: { type: "bearer", tokenCommand: ["echo", "a-printed-secret"] } },
      api: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "TOKEN", nextTokenEnvVar: "NEXT_TOKEN" } },
    },
  });
  await (await fetch(`${gateway.url}/proxy/printed/x`)).text();
  expect((await checkOf(gateway, "printed")).status).toBe("ok");
  expect((await checkOf(gateway, "api")).status).toBe("ok");
  env.NEXT_TOKEN = "another-next-secret";
  expect(await checkOf(gateway, "api")).toMatchObject({
    status: "warn",
    summary: "NEXT_TOKEN has a new secret that is not in use yet",
  });
});
