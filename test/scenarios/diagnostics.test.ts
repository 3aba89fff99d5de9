/** `/manage/diagnostics`: each test causes a symptom, and expects the check to report it with evidence and a fix. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import type { CheckResult } from "../../src/diagnostics/check.ts";
import type { Diagnostics } from "../../src/diagnostics/diagnostics.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { eventually } from "../support/eventually.ts";
import { type GatewaySetup, MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const SECRET = "the-upstream-secret-0123456789";
const pem = (name: string) => join(import.meta.dirname, "../support/tls", name);
const bearer = { type: "bearer", tokenEnvVar: "TOKEN" } as const;

function start({ env, ...setup }: GatewaySetup = {}): Promise<TestGateway> {
  return startGateway({ env: { ...KEYS, TOKEN: SECRET, ECHO_SERVICE: "false", ...env }, ...setup });
}

async function diagnose(gateway: Pick<TestGateway, "url">): Promise<Diagnostics> {
  const { status, body } = await manage(gateway, "GET", "/diagnostics");
  expect(status).toBe(200);
  expect(JSON.stringify(body)).not.toContain(SECRET);
  for (const key of [PROXY_KEY, MANAGEMENT_KEY]) expect(JSON.stringify(body)).not.toContain(key);
  return body;
}

async function find(gateway: Pick<TestGateway, "url">, id: string): Promise<CheckResult> {
  const { checks } = await diagnose(gateway);
  const found = checks.find((check) => check.id === id);
  if (found === undefined) throw new Error(`no ${id} among ${checks.map((check) => check.id).join(", ")}`);
  return found;
}

/** Runs a check in a gateway with one service, `api`. */
async function findOf(id: string, service: NonNullable<GatewaySetup["services"]>[string], env = {}) {
  return find(await start({ env, services: { api: { timeoutMs: 1_000, ...service } } }), id);
}

async function startTls(name: string): Promise<string> {
  const server = createServer({ cert: readFileSync(pem(`${name}.pem`)), key: readFileSync(pem(`${name}-key.pem`)) });
  return `https://localhost:${(await startUpstream((_, res) => res.end("ok"), server)).port}/`;
}

describe("the response", () => {
  test("The response describes system, network, environment and authentication, and counts its checks", async () => {
    const upstream = await startUpstream();
    const gateway = await start({ services: { api: { baseUrl: upstream.url, auth: bearer } } });
    const { system, network, environment, authentication, checks, summary } = await diagnose(gateway);
    expect(system).toMatchObject({ name: "byteproxy", runtime: `node ${process.versions.node}`, pid: process.pid });
    expect(network.listeners).toMatchObject([{ name: "main", address: "127.0.0.1", port: gateway.port }]);
    expect(environment.directory).toBe(gateway.directory);
    expect(environment.envFiles.map(({ state }) => state)).toEqual(["absent", "absent"]);
    expect(environment.variables).toContainEqual({ name: "TOKEN", origin: "environment" });
    expect(authentication.api).toEqual({
      tokenConfigured: true,
      source: "TOKEN",
      authType: "bearer",
      inUse: true,
      fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/),
      loadedAt: expect.stringMatching(/^\d{4}-.*Z$/),
    });
    expect(authentication.github).toMatchObject({ tokenConfigured: false, source: "GITHUB_TOKEN", inUse: false });
    expect(summary.ok + summary.warn + summary.fail).toBe(checks.length);
    for (const { status, summary: words, fix } of checks) {
      expect(words).not.toBe("");
      expect(fix === null).toBe(status === "ok");
    }
  });

  test("The response lists recent warnings of the log and the settings, except values that may contain a secret", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    const env = { LOG_LEVEL: "error", UPDATE_CHECK_URL: `http://127.0.0.1:1/feed/${SECRET}?token=${SECRET}` };
    const gateway = await start({ env, services: { api: { baseUrl: upstream.url, auth: bearer } } });
    await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } });
    const { recentErrors, environment } = await diagnose(gateway);
    expect(recentErrors).toEqual([
      {
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        level: "warn",
        service: "api",
        status: 401,
        message: "api responded 401 to its credential",
      },
    ]);
    expect(gateway.lines()).not.toContainEqual(expect.objectContaining({ level: 40 }));
    const settings = Object.fromEntries(environment.settings.map(({ name, ...rest }) => [name, rest]));
    expect(settings).toMatchObject({
      LOG_LEVEL: { origin: "environment", value: "error" },
      NETWORK_RETRIES: { origin: "default", value: 2 },
      MANAGEMENT_API_KEY: { origin: "environment", value: null },
      REST_SECRETS: { origin: "default", value: null },
      UPDATE_CHECK_URL: { origin: "environment", value: "http://127.0.0.1:1/***" },
    });
  });

  test("The diagnostics require the management key and are never cached", async () => {
    const gateway = await start();
    expect((await fetch(`${gateway.url}/manage/diagnostics`)).status).toBe(401);
    expect((await manage(gateway, "GET", "/diagnostics")).headers.get("cache-control")).toBe("no-store");
  });

  test("A preset that is not in use is neither checked nor contacted", async () => {
    const { checks } = await diagnose(await start());
    expect(checks.filter(({ id }) => id.includes(":"))).toEqual([]);
  });

  test("Simultaneous requests share one run of the checks", async () => {
    const upstream = await startUpstream((_, res) => void setTimeout(() => res.end(), 1_000));
    const gateway = await start({ services: { api: { baseUrl: upstream.url } } });
    await Promise.all(Array.from({ length: 10 }, () => diagnose(gateway)));
    expect(upstream.requests).toHaveLength(1);
  });

  test("The response takes at most five seconds when no upstream responds, and the probes close their sockets", async () => {
    const upstream = await startRawUpstream(() => {});
    const services = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`s${i}`, { baseUrl: upstream.url }]));
    const gateway = await start({ services });
    const startedAt = performance.now();
    const { checks } = await diagnose(gateway);
    expect(performance.now() - startedAt).toBeLessThan(5_500);
    const reach = checks.filter(({ id }) => id.startsWith("reach:"));
    expect(reach).toHaveLength(40);
    expect(new Set(reach.map(({ summary }) => summary.replace(/^s\d+/, "s").replace(/\d+ ms/, "n ms")))).toEqual(
      new Set(["s sent no response within the n ms of this probe. Phase: http.", "there was no time for a probe"]),
    );
    await eventually(() => upstream.sockets.size === 0, "the probes' sockets to close");
  });
});

describe("an upstream", () => {
  test("An upstream that refuses connections is reported with the phase", async () => {
    const { port } = await startUpstream();
    const closed = await startUpstream();
    expect(port).not.toBe(closed.port);
    expect(await findOf("reach:api", { baseUrl: "http://127.0.0.1:1/" })).toMatchObject({
      status: "fail",
      summary: "api: it refused the connection. Phase: connect.",
      evidence: { phase: "connect", code: "UPSTREAM_UNREACHABLE" },
    });
  });

  test("An upstream that does not respond in time is reported with the time limit", async () => {
    const upstream = await startRawUpstream(() => {});
    expect(await findOf("reach:api", { baseUrl: upstream.url, timeoutMs: 100 })).toMatchObject({
      status: "fail",
      summary: expect.stringContaining("sent no response within 100 ms; timeoutMs or NETWORK_TIMEOUT raises it"),
      evidence: { code: "UPSTREAM_TIMEOUT", phase: "http" },
      fix: expect.stringContaining("timeoutMs"),
    });
  });

  test("An upstream that does not speak HTTP is reported", async () => {
    const upstream = await startRawUpstream(respondWith("SSH-2.0-OpenSSH\r\n", "end"));
    expect(await findOf("reach:api", { baseUrl: upstream.url })).toMatchObject({
      status: "fail",
      evidence: { phase: "http", code: "UPSTREAM_PROTOCOL_ERROR" },
    });
  });

  test("An upstream that switches protocols without a request for it is reported at once, and other checks still work", async () => {
    const upstream = await startRawUpstream(
      respondWith("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    );
    const gateway = await start({ services: { api: { baseUrl: upstream.url } } });
    const { checks, summary } = await diagnose(gateway);
    expect(checks.find(({ id }) => id === "reach:api")).toMatchObject({
      status: "fail",
      evidence: { code: "UPSTREAM_PROTOCOL_ERROR" },
    });
    expect(checks.find(({ id }) => id === "clock")).toMatchObject({ status: "ok" });
    expect(summary.durationMs).toBeLessThan(1_000);
  });

  test("An upstream that accepts a connection and never starts TLS is reported in time, and its socket is closed", async () => {
    const upstream = await startRawUpstream(() => {});
    const baseUrl = upstream.url.replace("http:", "https:");
    const found = await findOf("reach:api", { baseUrl, timeoutMs: 200, connectTimeoutMs: 30_000 });
    expect(found).toMatchObject({ status: "fail", evidence: { phase: "tls", code: "UPSTREAM_TIMEOUT" } });
    await eventually(() => upstream.sockets.size === 0, "the socket to close");
  });

  test("An upstream with long response headers is reachable for probes, as for requests", async () => {
    const headers = Object.fromEntries([1, 2, 3, 4, 5].map((i) => [`x-${i}`, "y".repeat(5_000)]));
    const upstream = await startUpstream((_, res) => res.writeHead(200, headers).end());
    expect(await findOf("reach:api", { baseUrl: upstream.url })).toMatchObject({ status: "ok" });
  });

  test("An upstream that responds with 503 is reported", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(503).end());
    expect(await findOf("reach:api", { baseUrl: upstream.url })).toMatchObject({
      status: "warn",
      summary: "the upstream responds with 503",
    });
  });

  test("An upstream at a forbidden address is reported", async () => {
    expect(await findOf("reach:api", { baseUrl: "http://169.254.169.254/" })).toMatchObject({
      status: "fail",
      evidence: { code: "EGRESS_NOT_ALLOWED" },
    });
  });

  test("A slow upstream is reported after one probe, and after requests", async () => {
    const upstream = await startUpstream((_, res) => void setTimeout(() => res.end("ok"), 300));
    const gateway = await start({ services: { api: { baseUrl: upstream.url, timeoutMs: 590 } } });
    expect(await find(gateway, "latency:api")).toMatchObject({
      status: "warn",
      summary: expect.stringMatching(/^one probe took \d+ ms$/),
    });
    await fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": PROXY_KEY } });
    expect(await find(gateway, "latency:api")).toMatchObject({
      status: "warn",
      summary: expect.stringMatching(/^the upstream takes 3\d\d ms until its response begins$/),
      evidence: { recent: { requests: 1, toHeadersMs: expect.any(Number) } },
    });
  });

  test.each([
    ["expired", pem("ca.pem"), /expired, or this machine's clock is wrong/],
    ["self-signed", undefined, /self-signed/],
    ["other", pem("ca.pem"), /another name/],
    ["localhost", undefined, /issuer is not known here/],
  ])("A certificate that is refused is reported: %s", async (name, caFile, words) => {
    const baseUrl = await startTls(name);
    const found = await findOf("tls:api", { baseUrl, ...(caFile === undefined ? {} : { tls: { caFile } }) });
    expect(found).toMatchObject({
      status: "fail",
      summary: expect.stringMatching(words),
      evidence: { certificate: { issuer: expect.any(String), validTo: expect.any(String) }, strict: true },
      fix: expect.stringContaining("tls.caFile"),
    });
  });

  test("A valid certificate is ok, and one that is not verified is reported", async () => {
    const baseUrl = await startTls("localhost");
    expect(await findOf("tls:api", { baseUrl, tls: { caFile: pem("ca.pem") } })).toMatchObject({ status: "ok" });
    expect(await findOf("tls:api", { baseUrl }, { STRICT_TLS: "false" })).toMatchObject({
      status: "warn",
      summary: "the certificate of api is not verified",
      evidence: { strict: false },
    });
    expect(await findOf("tls:api", { baseUrl: "https://127.0.0.1:1/" })).toMatchObject({
      status: "warn",
      summary: "no certificate was received from api",
    });
  });

  test.each([
    [3_600, "fail", /clock is 3\d{3} s behind/],
    [-3_600, "fail", /clock is 3\d{3} s ahead of/],
    [60, "warn", /clock is \d\d s behind/],
    [0, "ok", /agrees/],
  ])(
    "An upstream clock that is %i s ahead shows that this machine's clock is wrong: %s",
    async (aheadS, status, words) => {
      const date = () => new Date(Date.now() + aheadS * 1_000).toUTCString();
      const upstream = await startUpstream((_, res) => res.writeHead(200, { date: date() }).end());
      const found = await findOf("clock", { baseUrl: upstream.url });
      expect(found).toMatchObject({ status, summary: expect.stringMatching(words) });
      expect(found.evidence.differences).toHaveProperty("api");
    },
  );
});

describe("a credential", () => {
  test("A missing credential is reported, also if it is optional", async () => {
    const { url: baseUrl } = await startUpstream();
    const auth = { type: "bearer", tokenEnvVar: "UNSET" } as const;
    expect(await findOf("credential:api", { baseUrl, auth })).toMatchObject({
      status: "fail",
      summary: "api has no credential: UNSET is not set",
      evidence: { source: "UNSET", fingerprint: null, loadedAt: null },
    });
    expect(await findOf("credential:api", { baseUrl, auth: { ...auth, required: false } })).toMatchObject({
      status: "warn",
    });
  });

  test("A credential that the upstream refuses is reported before its first use", async () => {
    const upstream = await startUpstream((_, res) => res.writeHead(401).end());
    expect(await findOf("credential:api", { baseUrl: upstream.url, auth: bearer })).toMatchObject({
      status: "fail",
      summary: "api responds with 401 to its credential",
      evidence: { upstreamSays: "refused", refused: null, fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/) },
    });
  });

  test("A credential that was refused for some requests is reported, with number and time", async () => {
    const upstream = await startUpstream((req, res) => res.writeHead(req.url === "/" ? 200 : 403).end());
    const gateway = await start({ services: { api: { baseUrl: upstream.url, auth: bearer } } });
    for (let i = 0; i < 3; i++) {
      await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } });
    }
    expect(await find(gateway, "credential:api")).toMatchObject({
      status: "warn",
      summary: "api refused its credential 3 times, last with 403",
      evidence: { upstreamSays: "accepted", refused: { count: 3, lastStatus: 403, lastAt: expect.any(String) } },
    });
  });

  test("A credential that the upstream accepts is ok although one path refuses it", async () => {
    const upstream = await startUpstream((req, res) => res.writeHead(req.url === "/" ? 403 : 200).end());
    const gateway = await start({ services: { api: { baseUrl: upstream.url, auth: bearer } } });
    await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": PROXY_KEY } });
    expect(await find(gateway, "credential:api")).toMatchObject({ status: "ok" });
  });

  test("A credential that was added to or removed from an env file is reported before the reload", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({
      env: { ...KEYS, ECHO_SERVICE: "false" },
      services: { api: { baseUrl: upstream.url, auth: bearer } },
    });
    const write = (text: string) => writeFileSync(join(gateway.directory, ".env"), text);
    const ids = async () => (await diagnose(gateway)).checks.map(({ id }) => id).filter((id) => id.includes(":"));
    expect(await ids()).not.toContain("credential:openai");
    write(`TOKEN=${SECRET}\nOPENAI_API_KEY=${SECRET}-2\n`);
    expect(await find(gateway, "credential:api")).toMatchObject({
      status: "fail",
      summary: "api has no credential; TOKEN is set now, but its secret is not in use yet",
      fix: expect.stringContaining("/manage/reload"),
    });
    // The service is not in use before the reload: it is not contacted, and its missing credential is no problem.
    expect(await find(gateway, "credential:openai")).toMatchObject({
      status: "warn",
      summary: "OPENAI_API_KEY is set now, but its secret is not in use yet",
    });
    expect((await ids()).filter((id) => id.endsWith(":openai"))).toEqual(["credential:openai"]);

    write(`TOKEN=${SECRET}\n`);
    await gateway.reload();
    expect(await find(gateway, "credential:api")).toMatchObject({ status: "ok" });
    expect(await ids()).not.toContain("credential:openai");
    write("");
    expect(await find(gateway, "credential:api")).toMatchObject({
      status: "warn",
      summary: "TOKEN is no longer set, but its old secret is still in use",
    });
  });

  test("A credential that was changed in an env file is reported until the reload", async () => {
    const upstream = await startUpstream();
    const gateway = await startGateway({ env: KEYS, services: { api: { baseUrl: upstream.url, auth: bearer } } });
    const set = (value: string) => writeFileSync(join(gateway.directory, ".env"), `TOKEN=${value}\n`);
    set(SECRET);
    await gateway.reload();
    expect(await find(gateway, "credential:api")).toMatchObject({ status: "ok" });
    set(`${SECRET}-2`);
    expect(await find(gateway, "credential:api")).toMatchObject({
      status: "warn",
      summary: "TOKEN has a new secret that is not in use yet",
    });
    await gateway.reload();
    expect(await find(gateway, "credential:api")).toMatchObject({ status: "ok" });
  });
});

describe("a key", () => {
  test.each([
    ["key of the other plane", { "x-api-key": MANAGEMENT_KEY }, "1 request to /proxy had the key of the other plane"],
    [
      "truncated key",
      { "x-api-key": PROXY_KEY.slice(0, 12) },
      "1 request to /proxy had a key that is too short or truncated",
    ],
    [
      "key without its beginning",
      { "x-api-key": PROXY_KEY.slice(4) },
      "1 request to /proxy had a key that is too short or truncated",
    ],
    [
      "key in quotes",
      { "x-api-key": `"${PROXY_KEY}"` },
      "1 request to /proxy had the key with extra characters around it",
    ],
    ["key with a scheme", { "x-api-key": `Bearer ${PROXY_KEY}` }, "had the key with extra characters around it"],
    [
      "key in another case",
      { "x-api-key": PROXY_KEY.toUpperCase() },
      "1 request to /proxy had the key in another case",
    ],
    [
      "Basic authorization",
      { authorization: "Basic dXNlcjpwYXNz" },
      "had an Authorization header with a scheme other than Bearer",
    ],
  ])("A request with a %s is reported", async (_, headers, words) => {
    const gateway = await start();
    await fetch(`${gateway.url}/proxy/github/`, { headers });
    expect(await find(gateway, "auth")).toMatchObject({
      status: "warn",
      summary: expect.stringContaining(words),
      fix: expect.stringMatching(/\S/),
    });
  });

  test("A key that is crafted to be slow to parse is refused quickly", async () => {
    const gateway = await start();
    const ask = async (key: string) => {
      const startedAt = performance.now();
      const { status } = await fetch(`${gateway.url}/proxy/github/`, { headers: { "x-api-key": key } });
      expect(status).toBe(401);
      return performance.now() - startedAt;
    };
    await ask("x".repeat(15_000));
    for (const mark of [";", "]", '"', "}"]) expect(await ask(`x${mark.repeat(15_000)}x`)).toBeLessThan(150);
  });

  test("An unknown or missing key is counted but not reported as a problem, and a dry run counts nothing", async () => {
    const gateway = await start();
    await fetch(`${gateway.url}/proxy/github/`);
    await fetch(`${gateway.url}/proxy/github/`, { headers: { "x-api-key": "another-callers-key-0123456789" } });
    await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/github/" });
    const { status, evidence } = await find(gateway, "auth");
    expect(status).toBe("ok");
    expect(evidence.refused).toMatchObject([
      { plane: "proxy", fault: "missing", count: 1 },
      { plane: "proxy", fault: "unknown", count: 1 },
    ]);
  });

  test("A plane without a key is reported", async () => {
    const gateway = await startGateway({ env: { ECHO_SERVICE: "false" } });
    expect(await find(gateway, "auth")).toMatchObject({
      status: "warn",
      summary: "/proxy is open to every program on this machine; /manage is open to every program on this machine",
    });
    const exposed = await start({
      env: { HOST: "0.0.0.0", ALLOW_UNAUTHENTICATED: "true", REQUIRE_AUTH_FOR_PROXY: "false" },
    });
    const local = { url: exposed.url.replace("0.0.0.0", "127.0.0.1") };
    expect(await find(local, "auth")).toMatchObject({
      status: "fail",
      summary: "/proxy is open to every client that can reach the address",
    });
  });
});

describe("a web page", () => {
  test("A page of an unlisted origin is reported, by its preflight and by its request", async () => {
    const upstream = await startUpstream();
    const gateway = await start({ services: { api: { baseUrl: upstream.url } } });
    const origin = "https://app.example";
    const asks = { origin, "access-control-request-method": "PUT" };
    await fetch(`${gateway.url}/proxy/api/`, { method: "OPTIONS", headers: asks });
    await fetch(`${gateway.url}/proxy/api/`, { headers: { origin, "x-api-key": PROXY_KEY } });
    await fetch(`${gateway.url}/status`, { headers: { origin: gateway.url } });
    expect(await find(gateway, "cors")).toMatchObject({
      status: "warn",
      summary: "a page of https://app.example sent 2 requests and may not read the responses",
      evidence: { refusedOrigins: [{ origin, count: 2 }] },
      fix: expect.stringContaining("CORS_ORIGINS"),
    });
  });

  test("A page of a listed origin is ok, and invented origins do not fill the memory", async () => {
    const gateway = await start({ env: { CORS_ORIGINS: "https://app.example" } });
    await fetch(`${gateway.url}/status`, { headers: { origin: "https://app.example" } });
    expect(await find(gateway, "cors")).toMatchObject({ status: "ok" });
    for (let i = 0; i < 50; i++) await fetch(`${gateway.url}/status`, { headers: { origin: `https://${i}.example` } });
    const { evidence } = await find(gateway, "cors");
    expect(evidence.refusedOrigins).toHaveLength(20);
  });

  test("A page of a listed origin is reported while CORS is off", async () => {
    const gateway = await start({ env: { CORS_ORIGINS: "https://app.example", CORS_ENABLED: "false" } });
    await fetch(`${gateway.url}/status`, { headers: { origin: "https://app.example" } });
    expect(await find(gateway, "cors")).toMatchObject({ status: "warn", fix: "Set CORS_ENABLED=true." });
  });
});

describe("the configuration", () => {
  test("An invalid configuration on disk is reported while the old one is in use", async () => {
    const gateway = await start();
    writeFileSync(join(gateway.directory, "services.json"), '{ "services": { "x": { "baseUrl": 5 } } }');
    expect(await find(gateway, "config")).toMatchObject({
      status: "fail",
      evidence: { problems: [expect.stringContaining("services.x.baseUrl")] },
    });
  });

  test("A change of the configuration that was not reloaded is reported by name", async () => {
    const gateway = await start();
    writeFileSync(
      join(gateway.directory, "services.json"),
      '{ "services": { "new": { "baseUrl": "http://127.0.0.1:1" } } }',
    );
    writeFileSync(join(gateway.directory, ".env"), "NETWORK_TIMEOUT=1234\n");
    expect(await find(gateway, "config")).toMatchObject({
      status: "warn",
      summary: "changed since the last load: NETWORK_TIMEOUT, services.new",
    });
    await gateway.reload();
    expect(await find(gateway, "config")).toMatchObject({ status: "ok" });
  });

  test("A changed key is reported by the name of its variable", async () => {
    const gateway = await startGateway({ env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY } });
    writeFileSync(join(gateway.directory, ".env"), "PROXY_API_KEY=another-key-0123456789\n");
    const { summary, evidence } = await find(gateway, "config");
    expect(summary).toBe("changed since the last load: PROXY_API_KEY");
    expect(JSON.stringify(evidence)).not.toContain("another-key");
  });

  test("A warning at the start is reported", async () => {
    expect(await find(await start({ env: { STRICT_TLS: "false" } }), "config")).toMatchObject({
      status: "warn",
      evidence: { warnings: [expect.stringContaining("STRICT_TLS")] },
    });
  });

  test("A variable that only REST_SECRETS or a service added at run time uses is not misspelled", async () => {
    const upstream = await startUpstream();
    const gateway = await start({ env: { EGRESS_ALLOW_PRIVATE: "true" } });
    const variables = "GITHUB_TOKENS=x-0123456789\nPROXY_APIKEY=z\n";
    const reloadWith = async (text: string) => {
      writeFileSync(join(gateway.directory, ".env"), text);
      expect(await gateway.reload()).toMatchObject({ isDone: true });
    };
    const misspelt = async () =>
      ((await find(gateway, "env-files")).evidence.misspelt as { name: string }[]).map(({ name }) => name);
    await reloadWith(variables);
    expect(await misspelt()).toEqual(["GITHUB_TOKENS", "PROXY_APIKEY"]);
    await reloadWith(`${variables}REST_SECRETS=GITHUB_TOKENS@${new URL(upstream.url).origin}\n`);
    expect(await misspelt()).toEqual(["PROXY_APIKEY"]);

    const config = { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKENS" } };
    expect((await manage(gateway, "POST", "/services", { key: "added", config })).status).toBe(201);
    // Only the added service uses the variable now.
    await reloadWith(variables);
    expect(await misspelt()).toEqual(["PROXY_APIKEY"]);
    const { environment } = await diagnose(gateway);
    expect(environment.variables).toContainEqual({ name: "GITHUB_TOKENS", origin: ".env" });
  });

  test("A misspelled variable in an env file is reported", async () => {
    const gateway = await start();
    writeFileSync(join(gateway.directory, ".env"), "PROXY_APIKEY=x\nNETWORK_TIMEOUTS=1\nGITLAB_TOKEN=x\nMY_OWN=1\n");
    await gateway.reload();
    const found = await find(gateway, "env-files");
    expect(found).toMatchObject({
      status: "warn",
      summary:
        "PROXY_APIKEY (.env) has no effect; did you mean PROXY_API_KEY?; NETWORK_TIMEOUTS (.env) has no effect; did you mean NETWORK_TIMEOUT?",
    });
    expect(found.evidence.files).toMatchObject([{ state: "read" }, { state: "absent" }]);
  });
});

describe("the state directory", () => {
  async function startIn(folder: string) {
    const stores = await openFileStores(folder, isStoredService, isStoredKey);
    return start({ stores: stores as NonNullable<GatewaySetup["stores"]> });
  }

  test("A writable state directory is ok and is left unchanged", async () => {
    const folder = mkdtempSync(join(tmpdir(), "byteproxy-state-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const gateway = await startIn(folder);
    const before = readdirSync(folder);
    expect(await find(gateway, "data-dir")).toMatchObject({ status: "ok", evidence: { path: folder, mode: "0700" } });
    expect(readdirSync(folder)).toEqual(before);
  });

  test("A state directory that was removed or replaced by a file is reported", async () => {
    const folder = join(mkdtempSync(join(tmpdir(), "byteproxy-state-")), "state");
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    mkdirSync(folder, { mode: 0o700 });
    const gateway = await startIn(folder);
    rmSync(folder, { recursive: true });
    expect(await find(gateway, "data-dir")).toMatchObject({ status: "fail", evidence: { code: "ENOENT" } });
    writeFileSync(folder, "");
    expect(await find(gateway, "data-dir")).toMatchObject({ status: "fail", evidence: { code: "ENOTDIR" } });
  });

  test("A state directory that other users can write to is reported", async () => {
    const folder = mkdtempSync(join(tmpdir(), "byteproxy-state-"));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const gateway = await startIn(folder);
    chmodSync(folder, 0o770);
    expect(await find(gateway, "data-dir")).toMatchObject({ status: "warn", evidence: { mode: "0770" } });
    chmodSync(folder, 0o777);
    expect(await find(gateway, "data-dir")).toMatchObject({ status: "fail", evidence: { mode: "0777" } });
  });
});

describe("limits and load", () => {
  const ask = (gateway: TestGateway, headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/proxy/api/`, { headers: { "x-api-key": PROXY_KEY, ...headers } });

  test("A limit that is used up is reported with the time until its reset", async () => {
    const upstream = await startUpstream();
    const rateLimit = { maxRequests: 2, windowMs: 60_000 };
    const gateway = await start({ services: { api: { baseUrl: upstream.url, rateLimit } } });
    expect(await find(gateway, "limits:api")).toMatchObject({ status: "ok", summary: "2 of 2 requests left" });
    for (let i = 0; i < 3; i++) await ask(gateway);
    expect(await find(gateway, "limits:api")).toMatchObject({
      status: "warn",
      summary: "the limit of 2 requests is used up",
      evidence: { remaining: 0, resetIn: 60, refused: 1 },
    });
  });

  test("Callers that share one address are reported if requests are counted by address", async () => {
    const upstream = await startUpstream();
    const rateLimit = { maxRequests: 100, windowMs: 60_000, per: "ip" } as const;
    const gateway = await start({ services: { api: { baseUrl: upstream.url, rateLimit } } });
    for (let i = 0; i < 12; i++) await ask(gateway, { "x-forwarded-for": `203.0.113.${i}` });
    expect(await find(gateway, "limits:api")).toMatchObject({
      status: "warn",
      summary: "all 12 requests came from one address",
      fix: expect.stringContaining("TRUST_PROXY"),
    });
  });

  test("Callers with different addresses are ok", async () => {
    const upstream = await startUpstream();
    const rateLimit = { maxRequests: 100, windowMs: 60_000, per: "ip" } as const;
    const gateway = await start({
      env: { TRUST_PROXY: "127.0.0.1" },
      services: { api: { baseUrl: upstream.url, rateLimit } },
    });
    for (let i = 0; i < 12; i++) await ask(gateway, { "x-forwarded-for": `203.0.113.${i}` });
    expect(await find(gateway, "limits:api")).toMatchObject({
      status: "ok",
      evidence: { counted: { keys: 12, requests: 12 } },
    });
  });

  test("A service at its limit of concurrent requests is reported, and refused requests are counted", async () => {
    const upstream = await startUpstream((req, res) => (req.url === "/hang" ? undefined : res.end()));
    const gateway = await start({ services: { api: { baseUrl: upstream.url, maxConcurrent: 1, timeoutMs: 2_000 } } });
    const hang = new AbortController();
    onTestFinished(() => hang.abort());
    void fetch(`${gateway.url}/proxy/api/hang`, { headers: { "x-api-key": PROXY_KEY }, signal: hang.signal }).catch(
      () => {},
    );
    await eventually(() => upstream.requests.length === 1);
    expect((await ask(gateway)).status).toBe(503);
    const { checks } = await diagnose(gateway);
    const byId = (id: string) => checks.find((check) => check.id === id);
    expect(byId("pool:api")).toMatchObject({
      status: "warn",
      summary: "api has reached its limit of 1 concurrent request",
      evidence: { inFlight: { current: 1, limit: 1 }, connections: { open: 1, busy: 1 } },
    });
    expect(byId("pressure")).toMatchObject({ status: "warn", summary: "1 request refused since the start" });
  });

  test("The response shows the thresholds in use: a reload does not change them before a restart", async () => {
    const gateway = await start();
    writeFileSync(join(gateway.directory, ".env"), "PRESSURE_MAX_EVENT_LOOP_UTILIZATION=0.5\n");
    expect((await gateway.reload()).isDone).toBe(true);
    const { evidence } = await find(gateway, "pressure");
    expect(evidence.thresholds).toMatchObject({ PRESSURE_MAX_EVENT_LOOP_UTILIZATION: 0 });
  });

  test("A gauge above its threshold is reported with its value and its variable", async () => {
    const gateway = await start({ env: { PRESSURE_MAX_RSS_BYTES: "1" } });
    expect(await find(gateway, "pressure")).toMatchObject({
      status: "fail",
      summary: expect.stringMatching(/^rssBytes is \d+, above PRESSURE_MAX_RSS_BYTES \(1\)$/),
    });
  });
});

describe("the version", () => {
  test("An old version is reported if UPDATE_CHECK_URL is set, and no request is sent otherwise", async () => {
    const upstream = await startUpstream((_, res) => res.end('{"version":"99.0.0"}'));
    const env = { UPDATE_CHECK_URL: upstream.url };
    expect(await find(await start({ env }), "update")).toMatchObject({
      status: "warn",
      summary: expect.stringContaining("99.0.0 is available"),
    });
    expect(await find(await start(), "update")).toMatchObject({ status: "ok" });
    expect(upstream.requests).toHaveLength(1);
  });

  test("A failed version check is reported, and the other checks do not wait for it", async () => {
    const env = { UPDATE_CHECK_URL: "http://127.0.0.1:1/" };
    expect(await find(await start({ env }), "update")).toMatchObject({
      status: "warn",
      summary: expect.stringContaining("the check failed"),
    });
  });
});
