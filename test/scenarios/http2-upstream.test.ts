/** A service with `http2: true`, called over HTTP/1.1. */

import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway } from "../support/gateway.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { manage } from "../support/manage.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const certificate = { cert: readFileSync(file("localhost.pem")), key: readFileSync(file("localhost-key.pem")) };

test("A request over HTTP/1.1 reaches an HTTP/2 upstream with its body, and its response comes back", async () => {
  const upstream = await startHttp2Upstream((stream) => {
    let body = "";
    stream.on("data", (chunk) => {
      body += chunk;
    });
    stream.on("end", () => {
      stream.respond({ ":status": 201, "content-type": "text/plain", "x-two": ["a", "b"] } as never);
      stream.end(`got ${body}`);
    });
  });
  const gateway = await startGateway({
    env: { API_TOKEN: "upstream-secret-0123456789" },
    services: {
      api: {
        baseUrl: `${upstream.url}/base`,
        http2: true,
        auth: { type: "bearer", tokenEnvVar: "API_TOKEN" } as never,
      },
    },
  });
  const response = await fetch(`${gateway.url}/proxy/api/x?y=1`, {
    method: "POST",
    body: "hello",
    headers: { "X-Mixed": "Case" },
  });
  expect([response.status, await response.text(), response.headers.get("x-two")]).toEqual([201, "got hello", "a, b"]);
  expect(upstream.requests).toHaveLength(1);
  expect(upstream.requests[0]).toMatchObject({
    ":method": "POST",
    ":path": "/base/x?y=1",
    ":scheme": "http",
    ":authority": `127.0.0.1:${upstream.port}`,
    authorization: "Bearer upstream-secret-0123456789",
    "x-mixed": "Case",
    "content-length": "5",
  });
  expect(upstream.requests[0]).not.toHaveProperty("host");
  expect(upstream.requests[0]).not.toHaveProperty("connection");
});

test("An https upstream is reached by ALPN h2, and its requests share one connection", async () => {
  const upstream = await startHttp2Upstream((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("secure");
  }, certificate);
  const gateway = await startGateway({
    services: { api: { baseUrl: upstream.url, http2: true, tls: { caFile: file("ca.pem") } } },
  });
  for (let i = 0; i < 3; i++) {
    const response = await fetch(`${gateway.url}/proxy/api/`);
    expect([response.status, await response.text()]).toEqual([200, "secure"]);
  }
  expect(upstream.counted.connections).toBe(1);
});

test("The probe, explain and the configuration know that the upstream is reached by HTTP/2", async () => {
  const upstream = await startHttp2Upstream((stream) => {
    stream.respond({ ":status": 204 });
    stream.end();
  }, certificate);
  const old = await startUpstream((_, res) => res.end("old"), createServer(certificate) as never);
  const tls = { caFile: file("ca.pem") };
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: {
      api: { baseUrl: upstream.url, http2: true, tls },
      old: { baseUrl: old.url.replace("http://127.0.0.1", "https://localhost"), http2: true, tls },
      away: { baseUrl: "http://127.0.0.1:9", http2: true },
    },
  });
  const probe = async (key: string) => (await manage(gateway, "POST", `/services/${key}/test`)).body;
  const found = await probe("api");
  expect(found).toMatchObject({ status: "reachable", responseStatus: 204, certificate: { protocol: "TLSv1.3" } });
  expect(found.phases).toMatchObject({
    connect: expect.any(Number),
    tls: expect.any(Number),
    http: expect.any(Number),
  });
  const words = /^old: it does not speak HTTP\/2 on this port .*; remove `http2` to use HTTP\/1\.1\.$/;
  expect(await probe("old")).toMatchObject({
    status: "unreachable",
    code: "UPSTREAM_PROTOCOL_ERROR",
    error: expect.stringMatching(words),
  });
  expect(await probe("away")).toMatchObject({ status: "unreachable", phase: "connect", code: "UPSTREAM_UNREACHABLE" });
  const explained = await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/x" });
  expect(explained.body.upstream).toMatchObject({ transport: "http2" });
  const refused = await manage(gateway, "PATCH", "/services/api", { ws: true });
  expect([refused.status, JSON.stringify(refused.body.details)]).toEqual([
    400,
    expect.stringContaining("a WebSocket needs HTTP/1.1"),
  ]);
});

test("A reload closes the connections of the replaced service once its requests have ended, and a client that leaves cancels its stream", async () => {
  let canceled = 0;
  const upstream = await startHttp2Upstream((stream, headers) => {
    stream.on("aborted", () => canceled++);
    if (headers[":path"] === "/open") stream.respond({ ":status": 200 });
    if (headers[":path"] === "/open") return void stream.write("begin");
    stream.respond({ ":status": 200 });
    stream.end("ok");
  });
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" },
    services: { api: { baseUrl: upstream.url, http2: true } },
  });
  const leaving = new AbortController();
  const open = await fetch(`${gateway.url}/proxy/api/open`, { signal: leaving.signal });
  expect((await manage(gateway, "PATCH", "/services/api", { timeoutMs: 9_000 })).status).toBe(200);
  expect(await (await fetch(`${gateway.url}/proxy/api/x`)).text()).toBe("ok");
  expect(upstream.sessions.size).toBe(2);
  leaving.abort();
  await expect(open.text()).rejects.toThrow();
  await eventually(() => canceled === 1 && upstream.sessions.size === 1);
});

test("A large response, whose stream is paused many times, arrives whole, and its end is seen", async () => {
  const chunk = Buffer.alloc(1 << 20, "d");
  const upstream = await startHttp2Upstream((stream) => {
    let left = 30;
    const write = () => {
      while (left-- > 0) if (!stream.write(chunk)) return void stream.once("drain", write);
      stream.end();
    };
    stream.respond({ ":status": 200 });
    write();
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, http2: true, retries: 0 } } });
  const { body } = await fetch(`${gateway.url}/proxy/api/`);
  let received = 0;
  for await (const part of body as unknown as AsyncIterable<Uint8Array>) {
    received += part.length;
  }
  expect(received).toBe(30 * chunk.length);
});

test("A response that the upstream resets is cut off for the client", async () => {
  const upstream = await startHttp2Upstream((stream) => {
    stream.respond({ ":status": 200 });
    stream.write("half", () => stream.destroy(new Error("broken")));
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, http2: true, retries: 0 } } });
  const { text } = await rawRequest(gateway.port, "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
  expect(text).not.toContain("0\r\n\r\n");
  expect(gateway.exchanges()).toMatchObject([{ outcome: "failed:UPSTREAM_PROTOCOL_ERROR" }]);
});

test("Trailers of an HTTP/2 response reach a caller over HTTP/1.1 that takes them", async () => {
  const upstream = await startHttp2Upstream((stream) => {
    stream.respond({ ":status": 200 }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", "x-end": "yes" }));
    stream.end("body");
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, http2: true } } });
  const { text } = await rawRequest(
    gateway.port,
    "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n",
  );
  expect(text).toContain("0\r\ngrpc-status: 0\r\nx-end: yes\r\n\r\n");
  expect(upstream.requests[0]).toMatchObject({ te: "trailers" });
});
