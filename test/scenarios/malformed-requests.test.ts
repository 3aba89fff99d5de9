/** Requests that two parsers could read differently, byte by byte. */
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream } from "../support/upstream.ts";

const post = (headers: string, body = "") =>
  `POST /proxy/api/x HTTP/1.1\r\nHost: localhost\r\n${headers.replaceAll("\n", "\r\n")}\r\n\r\n${body}`;
const get = (target: string, headers = "Host: localhost") => `GET ${target} HTTP/1.1\r\n${headers}\r\n\r\n`;

async function start() {
  const upstream = await startRawUpstream(respondWith("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
  return { upstream, gateway };
}

const EMPTY_CHUNKS = "0\r\n\r\n";

describe("malformed request", () => {
  test.each([
    ["Content-Length and Transfer-Encoding", post("Content-Length: 3\nTransfer-Encoding: chunked", EMPTY_CHUNKS)],
    ["two Content-Length", post("Content-Length: 3\nContent-Length: 3", "abc")],
    ["Content-Length as a list", post("Content-Length: 2, 2", "ab")],
    ["Content-Length +2", post("Content-Length: +2", "ab")],
    ["Content-Length 0x2", post("Content-Length: 0x2", "ab")],
    ["Content-Length -1", post("Content-Length: -1", "ab")],
    ["Content-Length empty", post("Content-Length: ", "ab")],
    ["Transfer-Encoding xchunked", post("Transfer-Encoding: xchunked", EMPTY_CHUNKS)],
    ["Transfer-Encoding chunked, identity", post("Transfer-Encoding: chunked, identity", EMPTY_CHUNKS)],
    ["Transfer-Encoding identity", post("Transfer-Encoding: identity", EMPTY_CHUNKS)],
    ["Transfer-Encoding twice", post("Transfer-Encoding: chunked\nTransfer-Encoding: chunked", EMPTY_CHUNKS)],
    ["Transfer-Encoding folded", post("Transfer-Encoding:\n chunked", EMPTY_CHUNKS)],
    ["Transfer-Encoding quoted", post('Transfer-Encoding: "chunked"', EMPTY_CHUNKS)],
    ["Transfer-Encoding after a vertical tab", post("Transfer-Encoding: \x0bchunked", EMPTY_CHUNKS)],
    ["Transfer-Encoding in HTTP/1.0", post("Transfer-Encoding: chunked", EMPTY_CHUNKS).replace("HTTP/1.1", "HTTP/1.0")],
    ["a space before the colon", post("Transfer-Encoding : chunked", EMPTY_CHUNKS)],
    ["bare LF", "GET /proxy/api/ HTTP/1.1\nHost: localhost\n\n"],
    ["bare CR", get("/proxy/api/", "Host: localhost\r\nX: a\rb")],
    ["a folded header", get("/proxy/api/", "Host: localhost\r\nX: a\r\n b")],
    ["NUL", get("/proxy/api/", "Host: localhost\r\nX: a\0b")],
    ["a WebSocket handshake with a length", get("/proxy/api/", upgrade("websocket", "Content-Length: 2"))],
    ["a WebSocket handshake in chunks", get("/proxy/api/", upgrade("WebSocket", "Transfer-Encoding: chunked"))],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    ["the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
    ["HTTP/0.9", "GET /proxy/api/ HTTP/0.9\r\nHost: localhost\r\n\r\n"],
    ["HTTP/2.0 in the form of 1.1", "GET /proxy/api/ HTTP/2.0\r\nHost: localhost\r\n\r\n"],
    ["HTTP/2.0 on the control plane", "GET /health HTTP/2.0\r\nHost: localhost\r\n\r\n"],
    ["an unknown method", "FOO /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n"],
    ["a space in the target", get("/proxy/api/a b")],
  ])(
    "A request with %s gets a 400 in the gateway's form, its connection is closed, and nothing is sent upstream",
    async (_, bytes) => {
      const { upstream, gateway } = await start();
      const response = await rawRequest(gateway.port, bytes);
      expectRefusal(response, 400, "INVALID_REQUEST");
      expect(upstream.received).toEqual([]);
    },
  );

  test.each([
    ["Transfer-Encoding gzip, chunked", post("Transfer-Encoding: gzip, chunked", EMPTY_CHUNKS), 501, "NOT_IMPLEMENTED"],
    ["Transfer-Encoding gzip", post("Transfer-Encoding: gzip", EMPTY_CHUNKS), 501, "NOT_IMPLEMENTED"],
    ["no Host", get("/proxy/api/", "X: y"), 400, "HOST_HEADER_INVALID"],
    ["no Host on the control plane", get("/health", "X: y"), 400, "HOST_HEADER_INVALID"],
    ["two Hosts", get("/proxy/api/", "Host: localhost\r\nHost: localhost"), 400, "HOST_HEADER_INVALID"],
    ["a Host with a space", get("/proxy/api/", "Host: local host"), 400, "HOST_HEADER_INVALID"],
    ["a Host with user info", get("/health", "Host: user@localhost"), 400, "HOST_HEADER_INVALID"],
    ["an absolute-form target", get("http://evil.example/proxy/api/"), 400, "INVALID_PATH"],
    ["an absolute-form target that is no URL", get("http://["), 400, "INVALID_PATH"],
    ["an absolute-form target with port 99999", get("http://localhost:99999/"), 400, "INVALID_PATH"],
    ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "INVALID_PATH"],
    ["a fragment", get("/proxy/api/#x"), 400, "INVALID_PATH"],
    ["a control character in the target", get("/proxy/api/a\x01b"), 400, "INVALID_PATH"],
    ["CONNECT", "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n", 405, "METHOD_NOT_ALLOWED"],
    ["TRACE", "TRACE /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "METHOD_NOT_ALLOWED"],
    ["TRACE on the control plane", "TRACE /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "METHOD_NOT_ALLOWED"],
    ["a target of 20 kB", get(`/proxy/api/${"a".repeat(20_000)}`), 431, "HEADERS_TOO_LARGE"],
    ["headers of 70 kB", get("/proxy/api/", `Host: localhost\r\nX: ${"a".repeat(70_000)}`), 431, "HEADERS_TOO_LARGE"],
    ["3,000 header lines", get("/proxy/api/", `Host: localhost${"\r\na:b".repeat(3_000)}`), 431, "HEADERS_TOO_LARGE"],
    ["a target of 20 kB on the control plane", get(`/health?${"a".repeat(20_000)}`), 431, "HEADERS_TOO_LARGE"],
    [
      "headers of 70 kB on the control plane",
      get("/health", `Host: localhost\r\nX: ${"a".repeat(70_000)}`),
      431,
      "HEADERS_TOO_LARGE",
    ],
    [
      "3,000 header lines on the control plane",
      get("/manage/services", `Host: localhost${"\r\na:b".repeat(3_000)}`),
      431,
      "HEADERS_TOO_LARGE",
    ],
    ["another expectation", post("Expect: miracles\nContent-Length: 2", "ab"), 417, "EXPECTATION_FAILED"],
  ])(
    "A request with %s is refused in the gateway's form, its connection is closed, and nothing is sent upstream",
    async (_, bytes, status, code) => {
      const { upstream, gateway } = await start();
      expectRefusal(await rawRequest(gateway.port, bytes), status, code);
      expect(upstream.received).toEqual([]);
    },
  );
});

function upgrade(protocol: string, more = ""): string {
  return `Host: localhost\r\nConnection: Upgrade\r\nUpgrade: ${protocol}${more === "" ? "" : `\r\n${more}`}`;
}

function expectRefusal(response: Awaited<ReturnType<typeof rawRequest>>, status: number, code: string): void {
  expect(response.status).toBe(status);
  expect(response.end).toBe("fin");
  expect(response.head).toMatch(new RegExp(`^X-Proxy-Error: ${code}$`, "im"));
  expect(response.head).toMatch(/^Connection: close$/im);
  const body = JSON.parse(response.body) as Record<string, unknown>;
  expect(body).toMatchObject({ code, status });
  expect(response.head).toContain(`X-Proxy-Request-Id: ${body.requestId}`);
}

describe("malformed body", () => {
  test.each([
    ["a bad chunk size", "2\r\nab\r\nzz\r\n"],
    ["a chunk without its line end", "2\r\nabXX0\r\n\r\n"],
    ["a line feed in a chunk extension", "2\r\nab\r\n2;a\nb\r\nab\r\n0\r\n\r\n"],
    ["Content-Length among the trailers", "2\r\nab\r\n0\r\nContent-Length: 5\r\n\r\n"],
  ])("A body with %s aborts the upstream request and never gets a successful response", async (_, body) => {
    const { upstream, gateway } = await start();
    const response = await rawRequest(gateway.port, post("Transfer-Encoding: chunked", body));
    expect([0, 400]).toContain(response.status);
    expect(response.end).not.toBe("open");
    expect(upstream.received.every((text) => !text.endsWith("0\r\n\r\n"))).toBe(true);
  });
});

describe("upgrade other than WebSocket", () => {
  test("Another upgrade is served as HTTP/1.1 and closes the connection, so that no later bytes are read as another protocol", async () => {
    const { upstream, gateway } = await start();
    const h2c = `${upgrade("h2c")}, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA`;
    const response = await rawRequest(gateway.port, `${get("/proxy/api/1", h2c)}${get("/proxy/api/2")}`);
    expect(response.status).toBe(200);
    expect(response.body).toBe("ok");
    expect(response.head).toMatch(/^Connection: close$/im);
    expect(response.end).toBe("fin");
    expect(upstream.received).toHaveLength(1);
    expect(upstream.received[0]).toMatch(/^GET \/1 HTTP\/1\.1\r\n/);
    expect(upstream.received[0]).not.toMatch(/upgrade|http2-settings/i);
  });

  test("A request with another upgrade keeps its body", async () => {
    const gateway = await startGateway();
    const request = `POST /proxy/echo/ HTTP/1.1\r\n${upgrade("h2c")}\r\nContent-Length: 4\r\n\r\nbody`;
    const response = await rawRequest(gateway.port, request);
    expect(JSON.parse(response.body)).toMatchObject({ body: { size: 4 } });
  });
});

test("A refused WebSocket gets 426, its connection is closed, and later bytes are dropped", async () => {
  const { upstream, gateway } = await start();
  const response = await rawRequest(gateway.port, `${get("/proxy/api/", upgrade("websocket"))}\x81\x05hello`);
  expectRefusal(response, 426, "UPGRADE_NOT_ALLOWED");
  expect(upstream.received).toEqual([]);
});

describe("connection", () => {
  test("A connection serves the next request after a refusal whose small body was still arriving", async () => {
    const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY } });
    const refused = "POST /proxy/echo/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n";
    const response = await rawRequest(gateway.port, [refused, `body${get("/health")}`], { until: '"status":"ok"' });
    expect(response.text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(["HTTP/1.1 401", "HTTP/1.1 200"]);
  });

  test("A connection is closed after a refusal whose body was never requested, because what follows is ambiguous", async () => {
    const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY } });
    const waiting = post("Expect: 100-continue\nContent-Length: 40").replace("/api/", "/echo/");
    const response = await rawRequest(gateway.port, `${waiting}${get("/proxy/echo/?api_key=x")}`);
    expect(response.text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(["HTTP/1.1 401"]);
    expect(response.end).toBe("fin");
  });

  test("A client that continues to send receives the refusal instead of a reset", async () => {
    const { gateway } = await start();
    const client = await openSocket(gateway.port);
    const ended = new Promise((resolve) => client.once("end", () => resolve("fin")));
    client.write(`GET /proxy/api/ HTTP/1.1\r\nX: ${"a".repeat(20_000)}`);
    for (let i = 0; i < 20; i++) client.write("a".repeat(1_000));
    expect(await ended).toBe("fin");
    expect(client.received).toMatch(/^HTTP\/1\.1 431 /);
  });
});
