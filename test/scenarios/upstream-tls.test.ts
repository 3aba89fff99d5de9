/** TLS towards upstreams: verified, explained when it fails, and trusted only where the service says so. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const caFile = file("ca.pem");

async function ask(name: string, tls: ServiceInput["tls"], env: Record<string, string> = {}, host = "localhost") {
  const server = createServer({ cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}-key.pem`)) });
  const upstream = await startUpstream((_, res) => res.end("ok"), server);
  const baseUrl = `https://${host}:${upstream.port}`;
  const gateway = await startGateway({ env, services: { api: { baseUrl, tls, retries: 0 } } });
  const answer = await fetch(`${gateway.url}/proxy/api/`);
  const text = await answer.text();
  return { status: answer.status, text, requests: upstream.requests.length };
}

test("a certificate of an authority that the service names is accepted, by name and by address", async () => {
  expect(await ask("localhost", { caFile })).toMatchObject({ status: 200, text: "ok" });
  expect(await ask("localhost", { caFile }, {}, "127.0.0.1")).toMatchObject({ status: 200, text: "ok" });
});

test("a name to ask for and verify may be given", async () => {
  expect(await ask("other", { caFile, servername: "other.test" })).toMatchObject({ status: 200 });
});

test.each([
  ["localhost", undefined, /issuer is not known here|authority that is not trusted/],
  ["self-signed", undefined, /is self-signed/],
  ["other", { caFile }, /for another name/],
  ["expired", { caFile }, /expired, or this machine's clock is wrong/],
] as const)("%s is 502 UPSTREAM_TLS_ERROR with the reason in words, and nothing is sent", async (name, tls, words) => {
  const { status, text, requests } = await ask(name, tls);
  expect(status).toBe(502);
  expect(JSON.parse(text)).toMatchObject({ code: "UPSTREAM_TLS_ERROR", service: "api" });
  expect((JSON.parse(text) as { message: string }).message).toMatch(words);
  expect(requests).toBe(0);
});

test("verification is off only where somebody turned it off", async () => {
  expect(await ask("expired", { strict: false })).toMatchObject({ status: 200 });
  expect(await ask("expired", undefined, { STRICT_TLS: "false" })).toMatchObject({ status: 200 });
  expect(await ask("expired", { strict: true }, { STRICT_TLS: "false" })).toMatchObject({ status: 502 });
});

test("https to a port that speaks http is a TLS error", async () => {
  const plain = await startUpstream();
  const gateway = await startGateway({
    services: { api: { baseUrl: `https://127.0.0.1:${plain.port}`, retries: 0 } },
  });
  expect(await (await fetch(`${gateway.url}/proxy/api/`)).json()).toMatchObject({ code: "UPSTREAM_TLS_ERROR" });
});
