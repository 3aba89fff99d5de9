/**
 * A caller that may add services over REST cannot read secrets: not by sending one to its own host, not by moving one to a place
 * that an upstream echoes, and not by reusing masked values.
 */
import { linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-upstream-secret-0123456789";

/** A service of the file with a secret, an attacker's host, and a gateway on which REST may use both. */
async function start(env: Record<string, string> = {}) {
  const seen: string[] = [];
  const thief = await startUpstream((req, res) => {
    seen.push(`${req.url} ${JSON.stringify(req.rawHeaders)}`);
    res.end();
  });
  const owner = await startUpstream((req, res) => res.end(`${req.url} ${JSON.stringify(req.rawHeaders)}`));
  const gateway = await startGateway({
    env: {
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      TOKEN: SECRET,
      UNBOUND: SECRET,
      ...env,
    },
    services: {
      api: {
        baseUrl: `${owner.url}/base/`,
        auth: { type: "bearer", tokenEnvVar: "TOKEN" },
        setHeaders: { "X-Literal-Token": SECRET },
      },
      keyed: { baseUrl: owner.url, auth: { type: "api-key", headerName: "X-Key", tokenEnvVar: "TOKEN" } },
      queried: { baseUrl: owner.url, auth: { type: "api-key", queryParam: "key", tokenEnvVar: "TOKEN" } },
    },
  });
  return { gateway, thief, owner, seen };
}

const bearer = { type: "bearer", tokenEnvVar: "TOKEN" } as const;

async function expectRefused(gateway: TestGateway, method: string, path: string, body: unknown): Promise<string> {
  const answer = await manage(gateway, method, path, body);
  expect([answer.status, answer.body.code], `${method} ${path} ${JSON.stringify(body)}`).toEqual([
    403,
    "EGRESS_NOT_ALLOWED",
  ]);
  expect(JSON.stringify(answer.body)).not.toContain(SECRET);
  return answer.body.hint as string;
}

describe("A service added over REST", () => {
  test("A service added over REST cannot send the secret of another service to its own origin", async () => {
    const { gateway, thief, owner, seen } = await start();
    const other = owner.url.replace("127.0.0.1", "127.0.0.2");
    const configs: unknown[] = [
      { baseUrl: thief.url, auth: bearer },
      { baseUrl: other, auth: bearer },
      { baseUrl: owner.url.replace("http:", "https:"), auth: bearer },
      { baseUrl: owner.url, versionedBaseUrls: { v1: thief.url }, auth: bearer },
      { baseUrl: `${owner.url}@${new URL(thief.url).host}/`, auth: bearer },
      { baseUrl: thief.url, auth: { ...bearer, required: false } },
      { baseUrl: "https://api.github.com.evil.example/", auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKEN" } },
      { baseUrl: thief.url, auth: { type: "bearer", tokenEnvVar: "UNBOUND" } },
      { baseUrl: thief.url, auth: { type: "bearer", tokenEnvVar: "PATH" } },
      { baseUrl: owner.url, auth: { type: "bearer", tokenEnvVar: "UNBOUND" } },
    ];
    for (const config of configs) {
      const isUserInfo = JSON.stringify(config).includes("@");
      if (isUserInfo) expect((await manage(gateway, "PUT", "/services/mine", config)).status).toBe(400);
      else await expectRefused(gateway, "PUT", "/services/mine", config);
    }
    const hint = await expectRefused(gateway, "POST", "/services", { key: "mine", config: configs[0] });
    expect(hint).toContain(`TOKEN@${thief.url}`);
    expect((await fetch(`${gateway.url}/proxy/mine/`)).status).toBe(404);
    expect(seen).toEqual([]);
  });

  test("A secret cannot be moved to another place of requests to the same origin, where the upstream may echo it", async () => {
    const { gateway, owner } = await start();
    const places = [
      { type: "api-key", headerName: "X-Echoed", tokenEnvVar: "TOKEN" },
      { type: "api-key", queryParam: "q", tokenEnvVar: "TOKEN" },
      { type: "basic", tokenEnvVar: "TOKEN" },
      { type: "bot", tokenEnvVar: "TOKEN" },
    ];
    for (const auth of places) {
      await expectRefused(gateway, "PUT", "/services/mine", { baseUrl: owner.url, auth });
      await expectRefused(gateway, "PATCH", "/services/api", { auth });
    }
    // The same place as in the other service; the case of a header name does not matter.
    const auth = { type: "api-key", headerName: "x-key", tokenEnvVar: "TOKEN" };
    expect((await manage(gateway, "PUT", "/services/mine", { baseUrl: `${owner.url}/elsewhere/`, auth })).status).toBe(
      201,
    );
    expect(await (await fetch(`${gateway.url}/proxy/mine/x`)).text()).toContain(SECRET);
  });

  test("A secret cannot be revealed by changing an existing service step by step, or by deleting and adding it again", async () => {
    const { gateway, thief, owner, seen } = await start();
    await expectRefused(gateway, "PATCH", "/services/api", { baseUrl: thief.url });
    await expectRefused(gateway, "PATCH", "/services/api", { versionedBaseUrls: { v1: thief.url } });
    // Without the credential the host may change, but masked values are not sent to it.
    await expectRefused(gateway, "PATCH", "/services/api", { auth: null, baseUrl: thief.url });
    const mask = { setHeaders: { "x-literal-token": "***" } };
    await expectRefused(gateway, "PUT", "/services/api", { baseUrl: thief.url, ...mask });
    await expectRefused(gateway, "PUT", "/services/api", {
      baseUrl: owner.url,
      versionedBaseUrls: { v1: thief.url },
      ...mask,
    });
    expect(
      (await manage(gateway, "PATCH", "/services/api", { auth: null, baseUrl: thief.url, setHeaders: null })).status,
    ).toBe(200);
    await expectRefused(gateway, "PATCH", "/services/api", { auth: bearer });
    expect((await manage(gateway, "PATCH", "/services/api", mask)).body.details).toEqual({
      "setHeaders.x-literal-token": [expect.stringContaining("found ***")],
    });
    expect((await manage(gateway, "DELETE", "/services/api")).status).toBe(204);
    expect((await manage(gateway, "PUT", "/services/mine", { baseUrl: owner.url, auth: bearer })).status).toBe(201);
    await expectRefused(gateway, "PATCH", "/services/mine", { baseUrl: thief.url });
    expect((await manage(gateway, "DELETE", "/services/mine")).status).toBe(204);
    await expectRefused(gateway, "POST", "/services", { key: "mine", config: { baseUrl: thief.url, auth: bearer } });
    for (const path of ["api/", "api/v1/", "mine/"]) await fetch(`${gateway.url}/proxy/${path}`);
    expect(seen.join()).not.toContain(SECRET);
  });

  test("A service added over REST cannot loosen the TLS checks for a credential, or use the client certificate of another service", async () => {
    const { gateway, owner } = await start();
    const base = { baseUrl: owner.url, auth: bearer };
    for (const tls of [
      { strict: false },
      { servername: "evil.example" },
      { caFile: "/etc/ssl/certs/ca-certificates.crt" },
    ]) {
      await expectRefused(gateway, "PUT", "/services/mine", { ...base, tls });
      await expectRefused(gateway, "PATCH", "/services/api", { tls });
    }
    await expectRefused(gateway, "PUT", "/services/mine", {
      baseUrl: owner.url,
      tls: { certFile: "/etc/gateway/client.crt", keyFile: "/etc/gateway/client.key" },
    });
    expect((await manage(gateway, "PATCH", "/services/api", { tls: { strict: true } })).status).toBe(200);
    expect(
      (await manage(gateway, "PUT", "/services/plain", { baseUrl: owner.url, tls: { strict: false } })).status,
    ).toBe(201);
  });

  test("A service that uses a secret of REST_SECRETS has the default TLS checks: another CA, name or none is refused", async () => {
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, OF_B: SECRET, REST_SECRETS: "OF_B@https://api.b.example" };
    const gateway = await startGateway({ env });
    const auth = { type: "bearer", tokenEnvVar: "OF_B" } as const;
    const config = { baseUrl: "https://api.b.example/", auth };
    const pem = join(import.meta.dirname, "../support/tls/ca.pem");
    for (const tls of [{ caFile: pem }, { strict: false }, { servername: "x.example" }]) {
      await expectRefused(gateway, "PUT", "/services/b", { ...config, tls });
    }
    expect((await manage(gateway, "PUT", "/services/b", { ...config, tls: { strict: true } })).status).toBe(201);
    await expectRefused(gateway, "PATCH", "/services/b", { tls: { caFile: pem } });
  });

  test("A service that leaves TLS settings out cannot get looser checks than the service of the file", async () => {
    const pem = join(import.meta.dirname, "../support/tls/ca.pem");
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: SECRET, STRICT_TLS: "false" };
    const auth = { type: "bearer", tokenEnvVar: "TOKEN" } as const;
    const gateway = await startGateway({
      env,
      services: {
        strict: { baseUrl: "https://a.example/", auth, tls: { strict: true } },
        pinned: { baseUrl: "https://b.example/", auth, tls: { caFile: pem, servername: "b.internal" } },
        literal: { baseUrl: "https://c.example/", setHeaders: { "X-Any": SECRET }, tls: { strict: true } },
      },
    });
    await expectRefused(gateway, "PUT", "/services/mine", { baseUrl: "https://a.example/", auth });
    await expectRefused(gateway, "PATCH", "/services/strict", { tls: null });
    await expectRefused(gateway, "PUT", "/services/mine", { baseUrl: "https://b.example/", auth });
    await expectRefused(gateway, "PUT", "/services/mine", {
      baseUrl: "https://b.example/",
      auth,
      tls: { caFile: pem },
    });
    await expectRefused(gateway, "PATCH", "/services/literal", { tls: { strict: false } });
    await expectRefused(gateway, "PATCH", "/services/literal", { tls: null });
    await expectRefused(gateway, "PATCH", "/services/literal", { tls: { servername: "evil.example" } });
    expect((await manage(gateway, "PATCH", "/services/literal", { retries: 1 })).status).toBe(200);
    expect((await manage(gateway, "PATCH", "/services/pinned", { tls: { strict: true } })).status).toBe(200);
  });

  test("A service that uses the secret of a service with scrubBodies must have scrubBodies, too, unless another service of the file goes without", async () => {
    const owner = await startUpstream((req, res) => res.end(req.headers.authorization));
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", TOKEN: SECRET };
    const api = { baseUrl: owner.url, auth: bearer } as const;
    const gateway = await startGateway({ env, services: { api: { ...api, scrubBodies: true } } });
    for (const off of [{}, { scrubBodies: false }]) {
      await expectRefused(gateway, "PUT", "/services/mine", { ...api, ...off });
      await expectRefused(gateway, "PUT", "/services/api", { ...api, ...off });
    }
    await expectRefused(gateway, "PATCH", "/services/api", { scrubBodies: null });
    expect((await manage(gateway, "PUT", "/services/mine", { ...api, scrubBodies: true })).status).toBe(201);
    expect(await (await fetch(`${gateway.url}/proxy/mine/`)).text()).toBe(`Bearer ${"*".repeat(SECRET.length)}`);

    const open = await startGateway({ env, services: { api: { ...api, scrubBodies: true }, also: api } });
    expect((await manage(open, "PUT", "/services/mine", api)).status).toBe(201);
  });

  test("A service added over REST cannot name a key of the gateway, even if REST_SECRETS lists it", async () => {
    const folder = tempFolder({ "key-file": PROXY_KEY });
    const { gateway, thief } = await start({
      PROXY_API_KEY_FILE: join(folder, "key-file"),
      COPY: MANAGEMENT_KEY,
      REST_SECRETS: "COPY@http://127.0.0.1:9",
    });
    for (const tokenEnvVar of ["MANAGEMENT_API_KEY", "PROXY_API_KEY", "PROXY_API_KEY_FILE"]) {
      await expectRefused(gateway, "PUT", "/services/mine", {
        baseUrl: thief.url,
        auth: { type: "bearer", tokenEnvVar },
      });
    }
    await expectRefused(gateway, "PUT", "/services/mine", {
      baseUrl: thief.url,
      auth: { type: "bearer", tokenFile: join(folder, "key-file") },
    });
    // The same text under another name is refused as well.
    const copy = { baseUrl: "http://127.0.0.1:9", auth: { type: "bearer", tokenEnvVar: "COPY" } };
    expect((await manage(gateway, "PUT", "/services/mine", copy)).status).toBe(400);
  });
});

describe("REST_SECRETS", () => {
  test("REST_SECRETS allows a listed secret at its origin only, in any place of a request", async () => {
    const seen: string[] = [];
    const upstream = await startUpstream((req, res) => {
      seen.push(String(req.headers["x-any"] ?? req.headers.authorization));
      res.end();
    });
    const folder = tempFolder({ token: "from-the-file-0123\n" });
    const gateway = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        EGRESS_ALLOW_PRIVATE: "true",
        LISTED: SECRET,
        REST_SECRETS: `LISTED@${upstream.url}, LISTED@https://api.example.com,file:${folder}/token@${upstream.url}`,
      },
    });
    const put = (config: unknown) => manage(gateway, "PUT", "/services/mine", config);
    const any = { type: "api-key", headerName: "X-Any", tokenEnvVar: "LISTED" };
    const created = await put({
      baseUrl: upstream.url,
      versionedBaseUrls: { v1: "https://api.example.com/" },
      auth: any,
    });
    expect(created.body.credential).toEqual({
      state: "present",
      source: "LISTED",
      fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/),
    });
    await fetch(`${gateway.url}/proxy/mine/`);
    await put({
      baseUrl: upstream.url,
      auth: { type: "bearer", tokenFile: `${folder}/../${folder.split("/").at(-1)}/token` },
    });
    await fetch(`${gateway.url}/proxy/mine/`);
    expect(seen).toEqual([SECRET, "Bearer from-the-file-0123"]);
    await expectRefused(gateway, "PUT", "/services/mine", { baseUrl: "https://other.example.com/", auth: any });
    await expectRefused(gateway, "PUT", "/services/mine", {
      baseUrl: upstream.url,
      versionedBaseUrls: { v1: "https://x.example/" },
      auth: any,
    });
  });

  test("REST_SECRETS compares the real paths of files, and a file in use is read by the path that the operator wrote", async () => {
    const folder = tempFolder({ "a/token": "token-of-a-01234567", "b/token": "token-of-b-01234567" });
    const seen: string[] = [];
    const upstream = await startUpstream((req, res) => {
      seen.push(String(req.headers.authorization));
      res.end();
    });
    symlinkSync(join(folder, "a"), join(folder, "link"));
    linkSync(join(folder, "b/token"), join(folder, "hard"));
    const gateway = await startGateway({
      env: {
        MANAGEMENT_API_KEY: MANAGEMENT_KEY,
        EGRESS_ALLOW_PRIVATE: "true",
        REST_SECRETS: `file:${folder}/a/token@${upstream.url}`,
      },
    });
    const put = (tokenFile: string) =>
      manage(gateway, "PUT", "/services/mine", { baseUrl: upstream.url, auth: { type: "bearer", tokenFile } });
    for (const path of ["b/token", "hard", "link/../b/token", "no-such-file"]) {
      expect((await put(join(folder, path))).status, path).toBe(403);
    }
    expect((await put(`${folder}/link/token`)).status).toBe(201);
    await fetch(`${gateway.url}/proxy/mine/`);
    // The link now points to another secret; the gateway still reads the operator's file.
    symlinkSync(join(folder, "b"), join(folder, "new"));
    renameSync(join(folder, "new"), join(folder, "link"));
    writeFileSync(join(folder, "a/token"), "token-of-a-new-0123");
    expect(await gateway.refreshTokens()).toMatchObject({ isDone: true, changed: ["mine"] });
    await fetch(`${gateway.url}/proxy/mine/`);
    expect(await gateway.reload()).toMatchObject({ isDone: true });
    await fetch(`${gateway.url}/proxy/mine/`);
    expect(seen.join()).toContain("token-of-a-new-0123");
    expect(seen.join()).not.toContain("token-of-b");
  });

  test("REST_SECRETS and the services file allow a client certificate at its own origins", async () => {
    const pem = (name: string) => join(import.meta.dirname, "../support/tls", name);
    const pair = { certFile: pem("localhost.pem"), keyFile: pem("localhost-key.pem") };
    const other = { certFile: pem("other.pem"), keyFile: pem("other-key.pem") };
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, REST_SECRETS: `file:${other.keyFile}@https://b.example` },
      services: { a: { baseUrl: "https://a.example/", tls: pair } },
    });
    const put = (baseUrl: string, tls: unknown) => manage(gateway, "PUT", "/services/mine", { baseUrl, tls });
    expect((await put("https://a.example/x/", pair)).status).toBe(201);
    expect((await put("https://b.example/", other)).status).toBe(200);
    for (const [baseUrl, tls] of [
      ["https://b.example/", pair],
      ["https://a.example/", other],
      ["https://a.example/", { certFile: pair.certFile, keyFile: other.keyFile }],
      ["https://a.example/", { keyFile: pair.keyFile }],
    ] as const) {
      await expectRefused(gateway, "PUT", "/services/mine", { baseUrl, tls });
    }
  });

  test("A service loses its client certificate when REST_SECRETS no longer lists it, and keeps its trust settings", async () => {
    const pem = (name: string) => join(import.meta.dirname, "../support/tls", name);
    const pair = { certFile: pem("localhost.pem"), keyFile: pem("localhost-key.pem") };
    const trust = { caFile: pem("ca.pem"), servername: "a.internal", strict: true };
    const config = await loadConfig({ directory: tempFolder(), processEnv: {} });
    const tls = { ...pair, ...trust };
    const reading = config.readRuntimeService("mine", { baseUrl: "https://a.example/", tls });
    expect(reading).toMatchObject({ refusal: { path: ["tls", "keyFile"] } });
    expect("service" in reading && reading.service.tls).toEqual(trust);
  });

  test("A stored service loses its credential at the next start or reload when REST_SECRETS no longer lists it", async () => {
    const folder = tempFolder();
    const upstream = await startUpstream((req, res) => res.end(String(req.headers.authorization)));
    mkdirSync(join(folder, "data"));
    const open = async (listed: string) =>
      startGateway({
        env: {
          MANAGEMENT_API_KEY: MANAGEMENT_KEY,
          EGRESS_ALLOW_PRIVATE: "true",
          LISTED: SECRET,
          ...(listed === "" ? {} : { REST_SECRETS: listed }),
        },
        stores: await openFileStores(join(folder, "data"), isStoredService, isStoredKey),
      });
    const before = await open(`LISTED@${upstream.url}`);
    const auth = { type: "bearer", tokenEnvVar: "LISTED" };
    await manage(before, "PUT", "/services/mine", { baseUrl: upstream.url, auth });
    await manage(before, "PUT", "/services/free", { baseUrl: upstream.url, auth: { ...auth, required: false } });
    expect(await (await fetch(`${before.url}/proxy/mine/`)).text()).toBe(`Bearer ${SECRET}`);
    await before.close();
    const after = await open("");
    const refused = await fetch(`${after.url}/proxy/mine/`);
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({
      code: "UPSTREAM_CREDENTIAL_MISSING",
      message: expect.stringContaining("LISTED may not be used by a service added over REST"),
      hint: expect.stringContaining(`Add LISTED@${upstream.url} to REST_SECRETS`),
    });
    expect(await (await fetch(`${after.url}/proxy/free/`)).text()).toBe("undefined");
    expect((await manage(after, "GET", "/services/mine")).body.credential).toMatchObject({
      state: "missing",
      source: "LISTED",
      withheld: expect.stringContaining("LISTED may not be used"),
    });
    const outcome = await after.reload();
    expect(outcome).toMatchObject({
      isDone: true,
      warnings: [expect.stringContaining("LISTED may not be used"), expect.any(String)],
    });
  });
});
