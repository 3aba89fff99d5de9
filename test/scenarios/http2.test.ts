/** HTTP/2 on the listener with a certificate: requests, responses, and how both end. */
import { execFile, spawnSync } from "node:child_process";
import { constants } from "node:http2";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY } from "../support/gateway.ts";
import { openSession, responseOf, send } from "../support/http2-client.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const MEGABYTE = 1 << 20;

function hasCurl(): boolean {
  return spawnSync("curl", ["--version"]).stdout?.includes(" HTTP2") ?? false;
}

describe("A request over HTTP/2", () => {
  test("Both planes serve it, and many streams of one connection at the same time", async () => {
    const upstream = await startUpstream((req, res) => void setTimeout(() => res.end(req.url), 20));
    const { gateway } = await startTlsGateway({
      env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" },
      services: { a: { baseUrl: upstream.url } },
    });
    const session = await openSession(gateway.url);
    const ask = (path: string, key?: string) =>
      send(session, { ":path": path, ...(key === undefined ? {} : { authorization: `Bearer ${key}` }) });
    const bodies = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(`/proxy/a/${i}`, PROXY_KEY)));
    expect(bodies.map(({ body }) => String(body))).toEqual(Array.from({ length: 60 }, (_, i) => `/${i}`));
    expect((await ask("/health")).status).toBe(200);
    expect((await ask("/proxy/a/x")).status).toBe(401);
    expect((await ask("/manage/services", MANAGEMENT_KEY)).status).toBe(200);
    const created = await send(
      session,
      {
        ":method": "POST",
        ":path": "/manage/services",
        authorization: `Bearer ${MANAGEMENT_KEY}`,
        "content-type": "application/json",
      },
      JSON.stringify({ key: "b", config: { baseUrl: upstream.url } }),
    );
    expect([created.status, JSON.parse(String(created.body)).key]).toEqual([201, "b"]);
    const missing = await ask("/none");
    expect([missing.status, missing.headers["x-proxy-error"], missing.headers.connection]).toEqual([
      404,
      "NOT_FOUND",
      undefined,
    ]);
  });

  test("Bodies pass both ways whole, and a HEAD, a 204 and a 304 have none", async () => {
    const upstream = await startUpstream(async (req, res) => {
      if (req.url === "/none") return void res.writeHead(204).end();
      if (req.url === "/same") return void res.writeHead(304, { etag: '"x"', "content-length": 5 }).end();
      res.end(req.method === "PUT" ? await bodyOf(req) : Buffer.alloc(3 * MEGABYTE, "a"));
    });
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const session = await openSession(gateway.url);
    const sent = Buffer.alloc(3 * MEGABYTE, "0123456789");
    const put = await send(session, { ":method": "PUT", ":path": "/proxy/a/x" }, sent);
    expect(put.body.equals(sent)).toBe(true);
    expect(upstream.requests[0]?.headers["transfer-encoding"]).toBe("chunked");
    const waited = await send(
      session,
      { ":method": "PUT", ":path": "/proxy/a/x", expect: "100-continue", "content-length": 5 },
      "hello",
    );
    expect([String(waited.body), waited.interim.map((fields) => fields[":status"])]).toEqual(["hello", [100]]);
    expect((await send(session, { ":path": "/proxy/a/x", expect: "magic" })).status).toBe(417);
    expect((await send(session, { ":path": "/proxy/a/x" })).body.length).toBe(3 * MEGABYTE);
    const empty = ["/proxy/a/none", "/proxy/a/same", "/health"].map((path) =>
      send(session, { ":path": path, ":method": path === "/health" ? "HEAD" : "GET" }),
    );
    const statuses = (await Promise.all(empty)).map(({ status, body, reset }) => [status, body.length, reset]);
    expect(statuses).toEqual([204, 304, 200].map((status) => [status, 0, 0]));
    const head = await send(session, { ":path": "/proxy/a/x", ":method": "HEAD" });
    expect([head.status, head.body.length, head.reset]).toEqual([200, 0, 0]);
    expect(new Set(gateway.exchanges().map(({ outcome }) => outcome))).toEqual(new Set(["relayed"]));
  });

  test("Interim responses and trailers reach the client, and headers of the upstream's connection do not", async () => {
    const upstream = await startUpstream((_req, res) => {
      res.writeEarlyHints({ link: "</style.css>; rel=preload" });
      res.writeHead(200, "Fine", [
        ["Connection", "keep-alive, X-Hop"],
        ["Keep-Alive", "timeout=9"],
        ["X-Hop", "1"],
        ["Trailer", "X-Checksum"],
        ["X-Latin", "\xe9"],
        ["X-Twice", "1"],
        ["X-Twice", "2"],
        ["Content-Type", "text/plain"],
        ["Content-Type", "text/html"],
        ["Content-Language", "de"],
        ["Content-Language", "en"],
      ] as never);
      res.addTrailers({ "X-Checksum": "abc" });
      res.end("body");
    });
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const session = await openSession(gateway.url);
    const { headers, interim, trailers, body } = await send(session, { ":path": "/proxy/a/", te: "trailers" });
    expect(interim[0]).toMatchObject({
      ":status": 103,
      link: `<${gateway.url}/proxy/a/style.css>; rel=preload`,
    });
    expect(headers).toMatchObject({
      "x-latin": "\xe9",
      "x-twice": "1, 2",
      "content-type": "text/plain",
      "content-language": "de, en",
    });
    for (const name of ["connection", "keep-alive", "x-hop", "transfer-encoding", "upgrade"]) {
      expect(headers[name], name).toBeUndefined();
    }
    expect([trailers["x-checksum"], String(body)]).toEqual(["abc", "body"]);
    const untrailed = await send(session, { ":path": "/proxy/a/" });
    expect([untrailed.trailers, String(untrailed.body)]).toEqual([{}, "body"]);
  });

  test.skipIf(!hasCurl())("curl --http2 gets a response (skipped where curl has no HTTP/2)", async () => {
    const { gateway } = await startTlsGateway();
    const run = promisify(execFile);
    const { stdout } = await run("curl", [
      "-sk",
      "--http2",
      "-w",
      "\n%{http_version} %{http_code}",
      `${gateway.url}/up`,
    ]);
    expect(stdout.split("\n").at(-1)).toBe("2 200");
  });
});

describe("The end of a stream", () => {
  test("A response that the upstream cuts resets its stream, and the connection goes on", async () => {
    const upstream = await startUpstream((req, res) => {
      if (req.url === "/whole") return void res.end("whole");
      res.writeHead(200, req.url === "/length" ? { "content-length": 100 } : {});
      res.write("begun", () => setTimeout(() => res.socket?.destroy(), 10));
    });
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const session = await openSession(gateway.url);
    for (const path of ["/length", "/chunks"]) {
      const { status, body, reset } = await send(session, { ":path": `/proxy/a${path}` });
      expect([status, String(body), reset]).toEqual([200, "begun", constants.NGHTTP2_INTERNAL_ERROR]);
    }
    expect(String((await send(session, { ":path": "/proxy/a/whole" })).body)).toBe("whole");
    const [first] = gateway.exchanges();
    expect(first).toMatchObject({ outcome: "failed:UPSTREAM_PROTOCOL_ERROR" });
  });

  test("A client that resets its stream aborts the upstream's request, at each of its stages", async () => {
    const upstream = await startUpstream((req, res) => {
      req.resume();
      if (req.url === "/begun") res.write("begun");
    });
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const session = await openSession(gateway.url);
    for (const [count, path] of ["/waiting", "/begun", "/uploading"].entries()) {
      const method = path === "/uploading" ? "POST" : "GET";
      const stream = session.request(
        { ":path": `/proxy/a${path}`, ":method": method },
        { endStream: method === "GET" },
      );
      stream.on("error", () => {});
      if (method === "POST") stream.write("begun");
      await eventually(() => upstream.requests.length === count + 1);
      if (path === "/begun") await new Promise((resolve) => stream.once("data", resolve));
      stream.close(constants.NGHTTP2_CANCEL);
      await eventually(() => upstream.sockets.size === 0, `the upstream's socket is closed after ${path}`);
      await eventually(() => gateway.exchanges().length === count + 1);
      expect(gateway.exchanges().at(-1)).toMatchObject({ status: 499, outcome: "client-left" });
    }
    expect((await send(session, { ":path": "/health" })).status).toBe(200);
  });

  test("A client that closes its connection leaves all of its requests", async () => {
    const upstream = await startUpstream(() => {});
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const session = await openSession(gateway.url);
    for (let i = 0; i < 3; i++) void send(session, { ":path": "/proxy/a/" });
    await eventually(() => upstream.requests.length === 3);
    session.destroy();
    await eventually(() => gateway.exchanges().length === 3);
    expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual(Array(3).fill("client-left"));
  });

  test("A response before the end of an upload is whole, and ends the upload", async () => {
    const upstream = await startUpstream((_req, res) => void res.writeHead(403).end("no"));
    const { gateway } = await startTlsGateway({
      services: { a: { baseUrl: upstream.url }, small: { baseUrl: upstream.url, maxBodyBytes: 10 } },
    });
    const session = await openSession(gateway.url);
    for (const [service, expected] of [
      ["a", 403],
      ["small", 413],
      ["none", 404],
    ] as const) {
      const stream = session.request({ ":path": `/proxy/${service}/`, ":method": "POST" }, { endStream: false });
      stream.write("a".repeat(20));
      const { status, reset } = await responseOf(stream);
      expect([status, reset]).toEqual([expected, constants.NGHTTP2_NO_ERROR]);
    }
  });

  test("A client that does not read stalls its own stream only, until SEND_TIMEOUT", async () => {
    const upstream = await startUpstream((req, res) => {
      if (req.url === "/small") return void res.end("small");
      res.end(Buffer.alloc(20 * MEGABYTE));
    });
    const { gateway } = await startTlsGateway({
      env: { SEND_TIMEOUT: "400" },
      services: { a: { baseUrl: upstream.url } },
    });
    const session = await openSession(gateway.url);
    const unread = session.request({ ":path": "/proxy/a/large" });
    unread.on("error", () => {});
    unread.pause();
    await new Promise((resolve) => unread.once("response", resolve));
    expect(String((await send(session, { ":path": "/proxy/a/small" })).body)).toBe("small");
    const closed = new Promise((resolve) => unread.once("close", resolve));
    await closed;
    expect(unread.rstCode).not.toBe(0);
    await eventually(() => gateway.exchanges().length === 2);
    expect(gateway.exchanges().at(-1)).toMatchObject({ status: 499, outcome: "client-left" });
    expect(gateway.exchanges().at(-1)?.bytesOut).toBeLessThan(MEGABYTE);
    expect((await send(session, { ":path": "/health" })).status).toBe(200);
  });
});
