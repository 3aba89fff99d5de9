/** TLS on the listener: HTTP/1.1 over it has the limits and guards of plain HTTP. */
import { connect as tlsConnect } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import WebSocket from "ws";
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
});
