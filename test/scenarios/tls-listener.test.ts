/** TLS on the listener: HTTP/1.1 over it has the limits and guards of plain HTTP. */
import { connect as tlsConnect } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
import { hasBrowser, openBrowser } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startTlsGateway, tlsRequest } from "../support/tls-gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

/** A TLS connection for the test to use step by step. */
async function openTls(port: number, options: object = {}) {
  const socket = Object.assign(tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...options }), {
    received: "",
  });
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    socket.received += chunk.toString("latin1");
  });
  onTestFinished(() => void socket.destroy());
  await new Promise((resolve, reject) => socket.once("secureConnect", resolve).once("error", reject));
  return socket;
}

describe("A listener with a certificate", () => {
  test("It serves HTTPS, tells the upstream and links so, and answers plain HTTP with 400", async () => {
    const upstream = await startUpstream(async (req, res) => {
      res.setHeader("location", `${upstream.url}/next`);
      res.end((await bodyOf(req)).toString().toUpperCase());
    });
    const { gateway } = await startTlsGateway({
      services: { a: { baseUrl: upstream.url, forwardedHeaders: true } },
    });
    expect(gateway.url).toMatch(/^https:/);
    const posted = await tlsRequest(`${gateway.url}/proxy/a/x`, { method: "POST", content: "hello" });
    expect([posted.status, posted.body]).toEqual([200, "HELLO"]);
    expect(posted.headers.location).toBe(`${gateway.url}/proxy/a/next`);
    expect(upstream.requests[0]?.headers["x-forwarded-proto"]).toBe("https");
    const plain = await rawRequest(gateway.port, `GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(plain.status).toBe(400);
    expect(JSON.parse(plain.body)).toMatchObject({ code: "INVALID_REQUEST", hint: "Begin the URL with https://." });
    expect(plain.head).toContain("X-Proxy-Error: INVALID_REQUEST");
  });

  test("A WebSocket over TLS carries messages both ways", async () => {
    const echo = await startWebSocketEcho();
    const { gateway } = await startTlsGateway({ services: { ws: { baseUrl: echo.url, ws: true } } });
    const socket = new WebSocket(`${gateway.url.replace("https", "wss")}/proxy/ws/`, { rejectUnauthorized: false });
    onTestFinished(() => socket.terminate());
    const message = await new Promise((resolve, reject) => {
      socket.on("error", reject);
      socket.on("open", () => socket.send("hello"));
      socket.on("message", (data) => resolve(String(data)));
    });
    expect(message).toBe("hello");
  });

  test("A handshake, and a head after it, must be complete within HEADERS_TIMEOUT", async () => {
    const { gateway } = await startTlsGateway({ env: { HEADERS_TIMEOUT: "150" } });
    const silent = await openSocket(gateway.port);
    const begun = await openSocket(gateway.port);
    begun.write(Buffer.from([0x16, 0x03, 0x01]));
    const secure = await openTls(gateway.port);
    secure.write("GET /health HTTP/1.1\r\nHost: loc");
    await Promise.all([silent, begun, secure].map((socket) => new Promise((resolve) => socket.once("close", resolve))));
    expect(secure.received).toMatch(/^HTTP\/1\.1 408 /);
    expect([silent.received, begun.received]).toEqual(["", ""]);
  });

  test("TLS 1.1 is refused, TLS 1.2 and 1.3 are served, and a failed handshake is one line of level debug", async () => {
    const { gateway } = await startTlsGateway({ env: { LOG_LEVEL: "debug" } });
    const version = (protocol: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
      openTls(gateway.port, { minVersion: protocol, maxVersion: protocol, ciphers: "DEFAULT@SECLEVEL=0" }).then(
        (socket) => socket.getProtocol(),
        () => "refused",
      );
    expect(await version("TLSv1.2")).toBe("TLSv1.2");
    expect(await version("TLSv1.3")).toBe("TLSv1.3");
    expect(await version("TLSv1.1")).toBe("refused");
    const failed = () => gateway.lines().filter(({ msg }) => msg === "a TLS handshake failed");
    await eventually(() => failed().length === 1);
    expect(failed()).toMatchObject([{ level: 20, address: "127.0.0.1", error: expect.stringContaining("ERR_SSL_") }]);
  });

  test("Broken records, half handshakes and resets end their own connection only", async () => {
    const { gateway } = await startTlsGateway();
    const hello = Buffer.from("16030100050100000100", "hex");
    for (const bytes of [
      hello,
      Buffer.from([0x16]),
      Buffer.alloc(20_000, 0x16),
      Buffer.from([0x80, 0x2e, 1]),
      Buffer.alloc(9),
    ]) {
      const reset = await openSocket(gateway.port);
      reset.write(bytes);
      reset.resetAndDestroy();
      const ended = await openSocket(gateway.port);
      ended.end(bytes);
      await new Promise((resolve) => ended.once("close", resolve));
    }
    const secure = await openTls(gateway.port);
    secure.destroy();
    expect((await tlsRequest(`${gateway.url}/health`)).status).toBe(200);
    await eventually(async () => {
      const { load } = JSON.parse((await tlsRequest(`${gateway.url}/status`)).body);
      return load.connections[0].current === 1;
    }, "the connections to be closed");
  });

  test("MAX_CONNECTIONS counts a connection from its first byte on, and the surplus gets 503 over TLS", async () => {
    const { gateway } = await startTlsGateway({ env: { MAX_CONNECTIONS: "2" } });
    const silent = await Promise.all([openSocket(gateway.port), openSocket(gateway.port)]);
    const url = `${gateway.url}/proxy/echo/x`;
    await eventually(async () => (await tlsRequest(url)).status === 503, "the cap");
    for (const socket of silent) socket.destroy();
    await eventually(async () => (await tlsRequest(url)).status === 200, "the freed places");
  });

  test("SEND_TIMEOUT drops a client that reads nothing, and a client that ends its side after the request gets the response", async () => {
    const upstream = await startUpstream((_, res) => res.end(Buffer.alloc(30_000_000)));
    const { gateway } = await startTlsGateway({
      env: { SEND_TIMEOUT: "300" },
      services: { a: { baseUrl: upstream.url } },
    });
    const stalled = await openTls(gateway.port);
    stalled.pause();
    stalled.write("GET /proxy/a/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(async () => {
      const { load } = JSON.parse((await tlsRequest(`${gateway.url}/status`)).body);
      return upstream.requests.length === 1 && load.connections[0].current === 1;
    }, "the client to be dropped");
    const half = await openTls(gateway.port);
    half.end("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await new Promise((resolve) => half.once("close", resolve));
    expect(half.received).toMatch(/^HTTP\/1\.1 200 [\s\S]*"status":"ok"/);
  });

  test("An event stream arrives event by event, and a drain ends with the responses", async () => {
    const upstream = await startUpstream((_, res) => {
      res.setHeader("content-type", "text/event-stream");
      res.write("data: 1\n\n");
    });
    const { gateway } = await startTlsGateway({ services: { a: { baseUrl: upstream.url } } });
    const client = await openTls(gateway.port);
    client.write("GET /proxy/a/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => client.received.includes("data: 1"), "the first event");
    const idle = await openTls(gateway.port);
    const drained = gateway.drain(0, 300);
    await new Promise((resolve) => idle.once("close", resolve));
    expect(await drained).toBe(1);
    await expect(tlsRequest(`${gateway.url}/health`)).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });
});

describe.skipIf(!hasBrowser)("A browser over TLS", { timeout: 60_000 }, () => {
  test("The gateway's own page may send requests while no key is set, and a page of plain HTTP at the same host may not", async () => {
    const { gateway } = await startTlsGateway();
    const browser = await openBrowser();
    onTestFinished(() => browser.close());
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    await page.goto(`${gateway.url}/docs`, { waitUntil: "commit" });
    const statusOf = (url: string) =>
      page.evaluate((to) => fetch(to, { method: "POST", body: "x" }).then(({ status }) => status), url);
    expect(await statusOf(`${gateway.url}/proxy/echo/x`)).toBe(200);
    const { host } = new URL(gateway.url);
    const foreign = await tlsRequest(`${gateway.url}/proxy/echo/x`, {
      method: "POST",
      headers: { origin: `http://${host}` },
    });
    expect(foreign.status).toBe(403);
  });
});
