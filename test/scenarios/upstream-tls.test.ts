/** TLS towards upstreams: it is verified, failures are explained, and a private authority is trusted only if the service names it. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const caFile = file("ca.pem");

async function sendRequest(
  name: string,
  tls: ServiceInput["tls"],
  env: Record<string, string> = {},
  host = "localhost",
) {
  const server = createServer({ cert: readFileSync(file(`${name}.pem`)), key: readFileSync(file(`${name}-key.pem`)) });
  const upstream = await startUpstream((_, res) => res.end("ok"), server);
  const baseUrl = `https://${host}:${upstream.port}`;
  const gateway = await startGateway({ env, services: { api: { baseUrl, tls, retries: 0 } } });
  const response = await fetch(`${gateway.url}/proxy/api/`);
  const text = await response.text();
  return { status: response.status, text, requests: upstream.requests.length };
}

test("A certificate from an authority that the service names is accepted, by name and by address", async () => {
  expect(await sendRequest("localhost", { caFile })).toMatchObject({ status: 200, text: "ok" });
  expect(await sendRequest("localhost", { caFile }, {}, "127.0.0.1")).toMatchObject({ status: 200, text: "ok" });
});

test("tls.servername sets the name that is requested and verified", async () => {
  expect(await sendRequest("other", { caFile, servername: "other.test" })).toMatchObject({ status: 200 });
});

test.each([
  ["localhost", undefined, /issuer is not known here|authority that is not trusted/],
  ["self-signed", undefined, /is self-signed/],
  ["other", { caFile }, /for another name/],
  ["expired", { caFile }, /expired, or this machine's clock is wrong/],
] as const)(
  "The invalid certificate '%s' is 502 UPSTREAM_TLS_ERROR with the reason in words, and nothing is sent",
  async (name, tls, words) => {
    const { status, text, requests } = await sendRequest(name, tls);
    expect(status).toBe(502);
    expect(JSON.parse(text)).toMatchObject({ code: "UPSTREAM_TLS_ERROR", service: "api" });
    expect((JSON.parse(text) as { message: string }).message).toMatch(words);
    expect(requests).toBe(0);
  },
);

test("Verification is off only if it was switched off", async () => {
  expect(await sendRequest("expired", { strict: false })).toMatchObject({ status: 200 });
  expect(await sendRequest("expired", undefined, { STRICT_TLS: "false" })).toMatchObject({ status: 200 });
  expect(await sendRequest("expired", { strict: true }, { STRICT_TLS: "false" })).toMatchObject({ status: 502 });
});

test("https to a port that speaks http is a TLS error", async () => {
  const plain = await startUpstream();
  const gateway = await startGateway({
    services: { api: { baseUrl: `https://127.0.0.1:${plain.port}`, retries: 0 } },
  });
  expect(await (await fetch(`${gateway.url}/proxy/api/`)).json()).toMatchObject({ code: "UPSTREAM_TLS_ERROR" });
});
