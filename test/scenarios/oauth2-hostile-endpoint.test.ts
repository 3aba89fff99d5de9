/** What a token endpoint can do to the gateway with its responses: nothing beyond its own service, and it makes nothing visible. */
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { refuseToken, startTokenEndpoint, type TokenAnswer } from "../support/token-endpoint.ts";
import { startUpstream } from "../support/upstream.ts";

const SECRET = "the-secret-of-the-client";
const OTHER_SECRET = "secret.of-another-service";
const env = {
  EGRESS_ALLOW_PRIVATE: "true",
  MANAGEMENT_API_KEY: MANAGEMENT_KEY,
  CLIENT_SECRET: SECRET,
  OTHER_SECRET,
};
const manage = { authorization: `Bearer ${MANAGEMENT_KEY}` };

function authOf(tokenUrl: string, more: object = {}): NonNullable<ServiceInput["auth"]> {
  const client = { tokenUrl, clientId: "the-client", clientSecretEnvVar: "CLIENT_SECRET" };
  return { type: "oauth2", grant: "client_credentials", ...client, ...more };
}

async function open(answer?: TokenAnswer, service: Partial<ServiceInput> = {}) {
  const endpoint = await startTokenEndpoint(answer);
  const vendor = await startUpstream((req, res) => {
    res.setHeader("x-got", String(req.headers.authorization));
    res.setHeader("x-word", "a plain sentence");
    res.end("ok");
  });
  const gateway = await startGateway({
    env,
    services: {
      api: { baseUrl: vendor.url, auth: authOf(endpoint.url), ...service },
      other: { baseUrl: vendor.url, auth: { type: "bearer", tokenEnvVar: "OTHER_SECRET" } },
    },
  });
  const { url } = gateway;
  const read = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${url}${path}`, { ...init, headers: manage });
    return { status: response.status, headers: response.headers, text: await response.text() };
  };
  const refresh = () => read("/manage/services/api/credential/refresh", { method: "POST" });
  return { endpoint, vendor, gateway, read, refresh };
}

const base64 = (text: string) => Buffer.from(text).toString("base64").replace(/=+$/, "");

test("Codes and scopes that repeat a secret, an earlier token or another service's secret are masked everywhere", async () => {
  const { endpoint, gateway, read, refresh } = await open(() => ({
    access_token: "token-1-of-the-endpoint",
    token_type: "bearer",
    scope: `read token-1-of-the-endpoint ${SECRET}`,
  }));
  expect((await read("/proxy/api/x")).headers.get("x-got")).toBe("Bearer ***");
  const shown = [await read("/status"), await read("/manage/diagnostics")];
  for (const { text } of shown) expect(text).toContain('"scope":"read *** ***"');
  const codes = [SECRET, OTHER_SECRET, "token-1-of-the-endpoint", base64(SECRET), base64(`the-client:${SECRET}`)];
  for (const code of codes) {
    for (const status of [400, 200]) {
      endpoint.respond((_, __, res) => refuseToken(res, status, { error: code }));
      const failed = await refresh();
      expect(failed.status).toBe(502);
      shown.push(failed, await read("/status"));
    }
  }
  shown.push(await read("/manage/diagnostics"), await read("/manage/audit"));
  for (const code of codes) {
    for (const { text } of shown) expect(text).not.toContain(code);
    expect(gateway.logText()).not.toContain(code);
  }
});

test("An error with status 200 is a failure with its code", async () => {
  const { read } = await open(() => ({ error: "bad_verification_code", error_description: "private-text" }));
  const { status, text } = await read("/proxy/api/x");
  expect(status).toBe(502);
  expect(text).toContain("responded with 200 (bad_verification_code)");
  expect(text).not.toContain("private-text");
});

test("Members that are null, and scopes as a list, are accepted", async () => {
  const { read } = await open(() => ({
    access_token: "token-of-the-endpoint",
    token_type: "bearer",
    scope: ["channel:read", "channel:write"],
    ...{ refresh_token: null, expires_in: null, id_token: null },
  }));
  expect((await read("/proxy/api/x")).status).toBe(200);
  expect((await read("/status")).text).toContain('"scope":"channel:read channel:write"');
});

test("A token of one letter damages no text of the gateway", async () => {
  const { gateway, read } = await open(() => ({ access_token: "e", token_type: "bearer" }));
  const first = await read("/proxy/api/x");
  expect(first.headers.get("x-word")).toBe("a plain sentence");
  expect((await read("/proxy/other/x")).headers.get("x-word")).toBe("a plain sentence");
  expect((await read("/status")).text).toContain('"services"');
  expect(gateway.exchanges().map(({ service, outcome }) => [service, outcome])).toEqual([
    ["api", "relayed"],
    ["other", "relayed"],
  ]);
});

test("Tokens that live for less than a second do not make the gateway ask the endpoint for each request", async () => {
  const { endpoint, read } = await open((_, count) => ({
    access_token: `token-${count}-of-the-endpoint`,
    ...{ token_type: "bearer", expires_in: 0.000_001 },
  }));
  const startedAt = performance.now();
  for (let at = 0; at < 30; at++) expect((await read("/proxy/api/x")).status).toBe(200);
  const seconds = (performance.now() - startedAt) / 1_000;
  expect(endpoint.requests.length).toBeLessThanOrEqual(2 + seconds * 1.2);
});

test("A key of the gateway as a new token leaves the current one in use, and is shown as a failure", async () => {
  const { endpoint, vendor, read, refresh } = await open();
  expect((await read("/proxy/api/x")).status).toBe(200);
  endpoint.respond(() => ({ access_token: MANAGEMENT_KEY, token_type: "bearer" }));
  expect((await refresh()).text).toContain("issued a key of the gateway");
  expect((await read("/proxy/api/x")).status).toBe(200);
  expect(vendor.requests.at(-1)?.headers.authorization).toBe("Bearer token-1-of-the-endpoint");
  expect((await read("/status")).text).toContain('"state":"failing"');
});

test("Endless interim responses end the fetch at once", async () => {
  const { gateway, read } = await open((_, __, res) => {
    for (let at = 0; at < 100; at++) res.writeProcessing();
  });
  expect((await read("/proxy/api/x")).status).toBe(502);
  expect(gateway.logText()).toContain("too many interim responses");
});

test("A probe waits for a silent endpoint only as long as for an upstream", async () => {
  const { endpoint, read } = await open(() => undefined, { timeoutMs: 300 });
  const startedAt = performance.now();
  const probed = JSON.parse((await read("/manage/services/api/test", { method: "POST" })).text);
  expect([probed.status, probed.code]).toEqual(["unreachable", "UPSTREAM_CREDENTIAL_UNAVAILABLE"]);
  expect(performance.now() - startedAt).toBeLessThan(3_000);
  expect(endpoint.requests).toHaveLength(1);
});

test("Requests whose clients leave while they wait for a token hold nothing", async () => {
  const { endpoint, vendor, read } = await open(() => undefined, { maxConcurrent: 4 });
  const leaving = new AbortController();
  const waiting = Array.from({ length: 4 }, () => read("/proxy/api/x", { signal: leaving.signal }).catch(() => "left"));
  await eventually(() => endpoint.requests.length === 1, "the fetch");
  const full = async () => (await read("/proxy/api/x")).status === 503;
  await eventually(full, "all slots in use");
  leaving.abort();
  expect(await Promise.all(waiting)).toEqual(Array(4).fill("left"));
  await eventually(
    async () => /in_flight(?:\{[^}]*\})? 0\n/.test((await read("/metrics")).text),
    "no request in flight",
  );
  expect(vendor.requests).toHaveLength(0);
});
