/** `headers` and `setHeaders` of a service: each name reaches the upstream once, with the value of the highest precedence. */
import { expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

async function ask(service: Record<string, unknown>, headers: string, env: Record<string, string> = {}) {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, ...service } } });
  await rawRequest(gateway.port, `GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n${headers}Connection: close\r\n\r\n`);
  const lines = (upstream.received[0] ?? "").split("\r\n");
  return (name: string) => lines.filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}: `));
}

test("A default replaces a header that was stripped, because the gateway's key is not a value of the caller", async () => {
  const defaults = {
    "x-api-key": "public",
    Authorization: "Basic cHVibGlj",
    Referer: "https://app.example/",
    Cookie: "a=b",
  };
  const carried = `x-api-key: ${PROXY_KEY}\r\nAuthorization: Bearer ${PROXY_KEY}\r\nReferer: http://own/\r\nCookie: own=1\r\n`;
  const sent = await ask({ headers: defaults }, carried, { PROXY_API_KEY: PROXY_KEY });
  for (const [name, value] of Object.entries(defaults)) expect(sent(name)).toEqual([`${name}: ${value}`]);
});

test("A default replaces a header that Connection names", async () => {
  const sent = await ask({ headers: { "User-Agent": "ours" } }, "User-Agent: own\r\nConnection: user-agent\r\n");
  expect(sent("User-Agent")).toEqual(["User-Agent: ours"]);
});

test("A header of the caller replaces a default, in any case", async () => {
  const service = { headers: { Accept: "ours/*", "X-Empty": "ours" } };
  const sent = await ask(service, "ACCEPT: own/*\r\nx-empty:\r\n");
  expect([sent("Accept"), sent("X-Empty")]).toEqual([["ACCEPT: own/*"], ["x-empty: "]]);
});

test("A default with the name of a member of Object.prototype is sent like any other", async () => {
  const sent = await ask({ headers: { constructor: "a", toString: "b" } }, "");
  expect([sent("constructor"), sent("toString")]).toEqual([["constructor: a"], ["toString: b"]]);
});

test("A forced header replaces the header that the gateway would write, and is sent once", async () => {
  const setHeaders = { "X-Forwarded-Proto": "https", "X-Request-Id": "forced", traceparent: "forced" };
  const sent = await ask({ forwardedHeaders: true, setHeaders }, "X-Request-Id: own\r\n");
  for (const [name, value] of Object.entries(setHeaders)) expect(sent(name)).toEqual([`${name}: ${value}`]);
  expect(sent("X-Forwarded-Host")).toEqual(["X-Forwarded-Host: localhost"]);
});

test("A default is not sent if the gateway always writes the header", async () => {
  const headers = {
    "X-Request-Id": "default",
    traceparent: "default",
    "X-Forwarded-For": "default",
    Forwarded: "for=x",
  };
  const sent = await ask({ forwardedHeaders: true, headers }, "X-Request-Id: own\r\n");
  expect(sent("X-Request-Id")).toEqual(["X-Request-Id: own"]);
  expect(sent("X-Forwarded-For")).toEqual(["X-Forwarded-For: 127.0.0.1"]);
  for (const name of ["traceparent", "Forwarded"]) expect(sent(name)).toHaveLength(1);
});

test("removeHeaders removes the headers that the gateway writes itself, and a traceparent takes its tracestate along", async () => {
  const names = ["traceparent", "X-Request-Id", "x-forwarded-host", "FORWARDED"];
  const trace = `traceparent: 00-${"a".repeat(32)}-${"b".repeat(16)}-01\r\ntracestate: a=1\r\nX-Request-Id: own\r\n`;
  const sent = await ask({ forwardedHeaders: true, removeHeaders: names }, trace);
  for (const name of [...names, "tracestate"]) expect([name, sent(name)]).toEqual([name, []]);
  expect(sent("X-Forwarded-Proto")).toEqual(["X-Forwarded-Proto: http"]);
});

test("A default is sent in the place of the gateway's own header that removeHeaders names", async () => {
  const sent = await ask({ removeHeaders: ["x-request-id"], headers: { "X-Request-Id": "default" } }, "");
  expect(sent("X-Request-Id")).toEqual(["X-Request-Id: default"]);
});

test("A request of HTTP/1.0 without Host forwards no empty field", async () => {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const services = { api: { baseUrl: upstream.url, forwardedHeaders: true } };
  const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY }, services });
  await rawRequest(gateway.port, `GET /proxy/api/ HTTP/1.0\r\nVia:\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
  const lines = (upstream.received[0] ?? "").split("\r\n");
  expect(lines.filter((line) => /^(?:x-forwarded|forwarded|via)/i.test(line))).toEqual([
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Proto: http",
    "Forwarded: for=127.0.0.1;proto=http",
    expect.stringMatching(/^Via: 1\.1 byteproxy-[\w-]+$/),
  ]);
});
