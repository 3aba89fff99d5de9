/** A service with `http2: true`, called over HTTP/1.1. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { startHttp2Upstream } from "../support/http2-upstream.ts";
import { rawRequest } from "../support/raw-request.ts";

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
