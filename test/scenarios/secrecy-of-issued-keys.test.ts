/**
 * Uses issued keys in many ways in a separate process, at trace level, then searches everything that it logged, sent and wrote
 * for each key, its digest, and every part of eight characters of either. Only `keys.json` contains digests, by design.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startProcess } from "../support/process.ts";
import { rawRequest } from "../support/raw-request.ts";
import { runCommand } from "../support/run-command.ts";
import { startUpstream } from "../support/upstream.ts";

const MANAGEMENT_KEY = "the-management-key-of-this-run";
const PART = 8;

test("No key, no digest and no part of either is logged, sent, counted or written, in any use of keys", async () => {
  const upstream = await startUpstream();
  const services = { api: { baseUrl: upstream.url }, open: { baseUrl: upstream.url, access: "public" } };
  const env = {
    MANAGEMENT_API_KEY: MANAGEMENT_KEY,
    LOG_LEVEL: "trace",
    DATA_DIR: "./data",
    CONFIG_FILE: "services.json",
    SHUTDOWN_TIMEOUT: "500",
  };
  const run = startProcess(env, [], { "services.json": JSON.stringify({ services }) });
  const port = await run.port();
  const url = `http://127.0.0.1:${port}`;
  const responses: string[] = [];
  const keys: string[] = [];

  /** For the requests that show a key by design; their responses are not searched. */
  const manage = async (method: string, path: string, body?: object, key = MANAGEMENT_KEY) => {
    const response = await fetch(`${url}/manage${path}`, {
      method,
      headers: { "x-api-key": key, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    const shown = /"key":"(bp_[^"]*)"/.exec(text)?.[1];
    if (shown !== undefined) keys.push(shown);
    responses.push(text.replace(shown ?? "", "***"));
    return { id: text === "" ? "" : (JSON.parse(text).id as string), key: shown ?? "" };
  };
  const send = async (line: string, headers: readonly string[] = []) => {
    const head = [`${line} HTTP/1.1`, "Host: localhost", ...headers, "Connection: close", "", ""].join("\r\n");
    responses.push((await rawRequest(port, head)).text);
  };
  const present = async (path: string, token: string) => {
    await send(`GET ${path}`, [`Authorization: Bearer ${token}`]);
    await send(`GET ${path}`, [`x-api-key: ${token}`, `X_Api_Key: ${token}`, `Cookie: a=${token}`]);
    await send(`GET ${path}?a=1&api_key=${token}&b=${token}`, [`Authorization: Basic ${btoa(`u:${token}`)}`]);
  };
  const use = async (key: string) => {
    for (const path of ["/proxy/api/x", "/proxy/open/x", "/proxy/nothing/x", "/manage/keys"]) await present(path, key);
    await send(`GET /proxy/api/${key}/${key.slice(0, 24)}`, [`Authorization: Bearer ${key}`]);
    await send(`GET /manage/keys/${key}`, [`x-api-key: ${MANAGEMENT_KEY}`]);
    await send("GET /proxy/api/x", [`Authorization: ${key}`, `x-apikey: ${key}`]);
    await send("GET /proxy/api/x", [`X-Request-Id: ${key}`, `traceparent: ${key}`, `Referer: http://a/?k=${key}`]);
    await send("GET /manage/key-debug", [`x-api-key: ${MANAGEMENT_KEY}`, `Authorization: Bearer ${key}`]);
    await send("GET /auth-status", [`Authorization: Bearer ${key}`]);
    const headers = { "x-api-key": key };
    await manage("POST", "/explain", { method: "GET", path: `/proxy/api/x?api_key=${key}`, headers });
    await manage("POST", "/explain", { method: "GET", path: `/proxy/api/${key}`, caller: key });
    await manage("POST", "/keys", { name: "x", permissions: [key] });
    await manage("POST", "/keys", { name: "x", permissions: ["api:read"], [key]: 1 });
    await manage("POST", "/keys", { name: "x", permissions: ["api:read"], allowIps: [key], expiresAt: key });
    await manage("PATCH", `/keys/${key}`, { name: "x" });
  };
  const misuse = async (key: string) => {
    for (const token of [`${key}"`, key.slice(0, -2), key.toLowerCase()]) await present("/proxy/auth-test", token);
    for (const line of [`GET /proxy/${key}/x`, `GET /${key}`, `${key} /proxy/api/x`, `GET /proxy/api/%zz${key}`]) {
      await send(line, ["x-api-key: too-short"]);
    }
  };

  const common = { name: "ci", permissions: ["api:*", "manage:keys"] };
  const [plain, rotated, revoked, expired] = [
    await manage("POST", "/keys", common),
    await manage("POST", "/keys", { ...common, rateLimit: { maxRequests: 2, windowMs: 60_000 } }),
    await manage("POST", "/keys", common),
    await manage("POST", "/keys", { ...common, expiresAt: new Date(Date.now() + 1_000).toISOString() }),
  ];
  await use(plain.key);
  await use((await manage("POST", `/keys/${rotated.id}/rotate`, { graceSeconds: 60 })).key);
  await use(rotated.key);
  await manage("DELETE", `/keys/${revoked.id}`);
  await use(revoked.key);
  await eventually(async () => {
    const response = await fetch(`${url}/proxy/auth-test`, { headers: { "x-api-key": expired.key } });
    return response.status === 401 || response.status === 429;
  });
  await use(expired.key);
  const byCommand = { ...env, BYTEPROXY_URL: url };
  const [created, listed] = await Promise.all([
    runCommand(byCommand, ["keys", "create", "--name", "cli", "--permissions", "api:read", "--url", url]),
    runCommand(byCommand, ["keys", "list", "--json", "--url", url]),
  ]);
  const fromCommand = /bp_[0-9A-Za-z]{36}/.exec(created.out)?.[0];
  expect(fromCommand, created.err + created.out).toBeDefined();
  keys.push(fromCommand as string);
  await use(fromCommand as string);
  for (const key of keys) await misuse(key);
  await manage("POST", "/reload");
  for (const path of ["/keys", "/audit", "/diagnostics", "/services", "/quota"]) await manage("GET", path);
  for (const path of ["/metrics", "/status", "/up", "/", "/openapi.json"]) {
    responses.push(await (await fetch(url + path, { headers: { "x-api-key": MANAGEMENT_KEY } })).text());
  }
  run.child.kill("SIGTERM");
  await run.ended;

  expect(keys.length).toBe(6);
  expect(responses.join("\n")).toContain("TOO_MANY_AUTH_FAILURES");
  const parts = new Map(keys.flatMap(partsOf));
  expectNone(run.out() + run.err(), parts, "what was printed");
  expectNone(responses.join("\n"), parts, "the responses");
  expectNone(listed.out + listed.err + created.err + created.out.replaceAll(fromCommand as string, ""), parts, "cli");
  for (const name of readdirSync(join(run.directory, "data"))) {
    if (name.endsWith(".sock")) continue;
    let text = readFileSync(join(run.directory, "data", name), "utf8");
    if (name === "keys.json") text = text.replace(/"sha256":"[0-9a-f]{64}"/g, "");
    expectNone(text, parts, name);
  }
});

/** Every part of the key, of its random letters, and of its digest in each encoding, with its source. */
function partsOf(key: string): [part: string, of: string][] {
  const digest = createHash("sha256").update(key).digest();
  const texts = {
    key,
    hex: digest.toString("hex"),
    base64: digest.toString("base64"),
    url: digest.toString("base64url"),
  };
  return Object.entries(texts).flatMap(([name, text]) =>
    Array.from({ length: text.length - PART + 1 }, (_, at): [string, string] => [text.slice(at, at + PART), name]),
  );
}

function expectNone(text: string, parts: ReadonlyMap<string, string>, where: string): void {
  const found = new Set<string>();
  for (let at = 0; at <= text.length - PART; at++) {
    const of = parts.get(text.slice(at, at + PART));
    if (of !== undefined) found.add(`${of} in ${text.slice(Math.max(0, at - 120), at + PART + 40)}`);
  }
  expect([...found].slice(0, 5), where).toEqual([]);
}
