/** Secrets in paths: the token of a webhook in a request, and the secret that a base URL contains. */
import { expect, test } from "vitest";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const TOKEN = "123456789:AAreal-telegram-bot-token";

async function start(env: Record<string, string> = {}) {
  const upstream = await startUpstream();
  const services = {
    telegram: { baseUrl: `${upstream.url}/bot${TOKEN}/`, versionedBaseUrls: { v2: `${upstream.url}/v2/bot${TOKEN}/` } },
    plain: { baseUrl: `${upstream.url}/accounts/7/` },
    down: { baseUrl: `http://127.0.0.1:1/bot${TOKEN}/`, retries: 0 },
  };
  return { upstream, gateway: await startGateway({ env: { ...KEYS, ...env }, services }) };
}

test("A secret in a base URL reaches the upstream, and appears in no log line and no response of the gateway", async () => {
  const { upstream, gateway } = await start();
  const ask = (path: string, key = PROXY_KEY) => fetch(gateway.url + path, { headers: { "x-api-key": key } });
  const seen: string[] = [];
  for (const path of ["/proxy/telegram/getMe", "/proxy/telegram/v2/getMe"]) expect((await ask(path)).status).toBe(200);
  expect(upstream.requests.map(({ url }) => url)).toEqual([`/bot${TOKEN}/getMe`, `/v2/bot${TOKEN}/getMe`]);
  for (const path of ["/proxy/down/x", "/proxy/services", "/proxy/nope"]) seen.push(await (await ask(path)).text());
  for (const path of ["/status", "/metrics"]) seen.push(await (await ask(path, MANAGEMENT_KEY)).text());
  const config = { baseUrl: `http://127.0.0.1:2/bot${TOKEN}/`, breaker: false };
  const calls = [
    ["GET", "/services"],
    ["POST", "/services/telegram/test"],
    ["POST", "/services/down/test"],
    ["POST", "/explain", { method: "GET", path: "/proxy/telegram/getMe", caller: "proxy-key" }],
    ["PUT", "/services/forbidden", config],
    ["PUT", "/services/invalid", { baseUrl: `ftp://x/bot${TOKEN}/` }],
    ["PUT", "/services/added", { baseUrl: `https://api.telegram.org/bot${TOKEN}/` }],
    ["GET", "/services/added"],
    ["GET", "/audit"],
    ["GET", "/quota"],
    ["GET", "/diagnostics"],
  ] as const;
  for (const [method, path, body] of calls) seen.push(JSON.stringify((await manage(gateway, method, path, body)).body));
  expect([...seen, gateway.logText()].filter((text) => /AAreal/.test(text))).toEqual([]);
});

test("A masked base URL in a change keeps the stored one, and a mask without a stored one is refused", async () => {
  const { gateway, upstream } = await start({ EGRESS_ALLOW_PRIVATE: "true" });
  await manage(gateway, "PUT", "/services/added", { baseUrl: `${upstream.url}/bot${TOKEN}/` });
  const { body: item } = await manage(gateway, "GET", "/services/added");
  const shown = item.config as { baseUrl: string };
  expect(shown.baseUrl).toBe(`${upstream.url}/bot***/`);
  expect((await manage(gateway, "PATCH", "/services/added", { retries: 1 })).status).toBe(200);
  expect((await manage(gateway, "PUT", "/services/added", { ...shown, retries: 0 })).status).toBe(200);
  const { body } = await manage(gateway, "GET", "/services/added");
  expect(body.config).toEqual({ ...shown, retries: 0 });
  expect((await fetch(`${gateway.url}/proxy/added/getMe`, { headers: { "x-api-key": PROXY_KEY } })).status).toBe(200);
  expect(upstream.requests.at(-1)?.url).toBe(`/bot${TOKEN}/getMe`);
  const foreign = { baseUrl: "https://attacker.example/bot***/" };
  const refused = await manage(gateway, "PUT", "/services/added", foreign);
  expect([refused.status, refused.body.details]).toEqual([400, { baseUrl: ["found ***, allowed: the value itself"] }]);
});

test("A check and a warning report the secret in a base URL by the service's name", async () => {
  const { gateway } = await start();
  const { body } = await manage(gateway, "GET", "/diagnostics");
  const checks = body.checks as { id: string; status: string; summary: string; evidence: { warnings: string[] } }[];
  expect(checks.find(({ id }) => id === "credential:telegram")).toMatchObject({
    status: "warn",
    summary: expect.stringContaining("versionedBaseUrls.v2 of telegram seems to contain a secret"),
  });
  expect(checks.find(({ id }) => id === "credential:plain")).toBeUndefined();
  const warnings = checks.find(({ id }) => id === "config")?.evidence.warnings ?? [];
  expect(warnings.filter((each) => each.includes("seems to contain a secret of telegram"))).toHaveLength(2);
});

test("A caller sees only the services that its key may use, and of a base URL only the origin", async () => {
  const { upstream, gateway } = await start();
  const { body } = await manage(gateway, "POST", "/keys", { name: "narrow", permissions: ["plain:GET:/public/*"] });
  const ask = async (path: string) => {
    const response = await fetch(gateway.url + path, { headers: { "x-api-key": body.key as string } });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  };
  const list = await ask("/proxy/services");
  expect(list.body).toMatchObject({ services: [{ key: "plain", baseUrl: upstream.url }], count: 1 });
  for (const path of ["/proxy/telegrm/x", "/proxy/services/telegrm/rate-limit"]) {
    const unknown = await ask(path);
    expect([path, unknown.status, unknown.body.availableServices]).toEqual([path, 404, ["plain"]]);
    expect(unknown.body.message).not.toContain("telegram");
  }
  expect((await ask("/proxy/services/telegram/rate-limit")).status).toBe(403);
  expect((await ask("/proxy/services/plain/rate-limit")).status).toBe(200);
});
