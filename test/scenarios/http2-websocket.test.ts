/** WebSockets on streams of HTTP/2 (RFC 8441). */
import { createHash } from "node:crypto";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { openSession, responseOf, send } from "../support/http2-client.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const HANDSHAKE = {
  ":method": "CONNECT",
  ":protocol": "websocket",
  ":scheme": "https",
  "sec-websocket-version": "13",
};

/** The client of `ws`, on an open stream. */
function webSocketOn(stream: ClientHttp2Stream): WebSocket {
  const socket = Object.assign(stream as unknown as Duplex, {
    setNoDelay() {},
    setTimeout() {},
    setKeepAlive() {},
  });
  const client = new WebSocket(null as never, undefined, {}) as WebSocket & {
    _isServer: boolean;
    setSocket(socket: Duplex, head: Buffer, options: object): void;
  };
  client._isServer = false;
  client.setSocket(socket, Buffer.alloc(0), { maxPayload: 1 << 30, skipUTF8Validation: false });
  onTestFinished(() => client.terminate());
  return client;
}

async function accepted(session: ClientHttp2Session, path: string, more: Record<string, string> = {}) {
  // node:http2's client knows the server's setting only after its SETTINGS.
  await eventually(() => session.remoteSettings.enableConnectProtocol);
  const stream = session.request({ ...HANDSHAKE, ":path": path, ...more }, { endStream: false });
  stream.on("error", () => {});
  const headers = await new Promise<Record<string, unknown>>((resolve) => stream.once("response", resolve));
  return { stream, headers };
}

test("Messages pass both ways, beside other streams of the connection, and the access line is that of a WebSocket", async () => {
  const echo = await startWebSocketEcho();
  const { gateway } = await startTlsGateway({ services: { ws: { baseUrl: echo.url, ws: true } } });
  const session = await openSession(gateway.url);
  const { stream, headers } = await accepted(session, "/proxy/ws/chat?a=1", { "sec-websocket-protocol": "chat" });
  expect([headers[":status"], headers["sec-websocket-accept"], headers.upgrade]).toEqual([200, undefined, undefined]);
  expect(headers["sec-websocket-protocol"]).toBe("chat");
  const request = echo.requests[0];
  expect([request?.method, request?.url, request?.headers.upgrade]).toEqual(["GET", "/chat?a=1", "websocket"]);
  const client = webSocketOn(stream);
  const received: string[] = [];
  client.on("message", (data: Buffer) => received.push(String(data)));
  const large = "x".repeat(3_000_000);
  client.send("hello");
  client.send(large);
  expect((await send(session, { ":path": "/health" })).status).toBe(200);
  await eventually(() => received.length === 2, "two messages", 8_000);
  expect(received).toEqual(["hello", large]);
  client.close(1000);
  await eventually(() => gateway.exchanges().length === 1);
  expect(gateway.exchanges()[0]).toMatchObject({ method: "GET", status: 101, outcome: "relayed", service: "ws" });
  expect(gateway.exchanges()[0]?.bytesOut).toBeGreaterThan(3_000_000);
  expect((await send(session, { ":path": "/health" })).status).toBe(200);
});

test("A stream that its client resets ends the upstream's WebSocket, and the other way round", async () => {
  const echo = await startWebSocketEcho();
  const { gateway } = await startTlsGateway({ services: { ws: { baseUrl: echo.url, ws: true } } });
  const session = await openSession(gateway.url);
  const first = await accepted(session, "/proxy/ws/");
  first.stream.close(8);
  await eventually(() => echo.server.clients.size === 0);
  const second = await accepted(session, "/proxy/ws/");
  for (const client of echo.server.clients) client.terminate();
  second.stream.resume();
  await eventually(() => second.stream.closed);
  expect((await send(session, { ":path": "/health" })).status).toBe(200);
  await eventually(() => gateway.exchanges().length === 2);
});

test("A WebSocket gets 1001 when the gateway ends, and then its connection closes", async () => {
  const echo = await startWebSocketEcho();
  const { gateway } = await startTlsGateway({ services: { ws: { baseUrl: echo.url, ws: true } } });
  const session = await openSession(gateway.url);
  const { stream } = await accepted(session, "/proxy/ws/");
  const client = webSocketOn(stream);
  const closed = new Promise((resolve) => client.once("close", resolve));
  const ended = gateway.drain(0, 3_000);
  expect(await closed).toBe(1001);
  expect(await ended).toBe(0);
});

test("No response of success opens a WebSocket that the upstream has not accepted", async () => {
  const upstream = await startUpstream((_req, res) => void res.end("a page"));
  upstream.requests.length = 0;
  const accept = (key: string) => createHash("sha1").update(key).digest("base64");
  const wrong = await startRawUpstream((socket, received) => {
    const key = /sec-websocket-key: (.*)\r\n/i.exec(received)?.[1] ?? "";
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept(key)}\r\n\r\n`,
    );
  });
  const { gateway } = await startTlsGateway({
    services: {
      page: { baseUrl: upstream.url, ws: true },
      plain: { baseUrl: upstream.url },
      wrong: { baseUrl: wrong.url, ws: true },
    },
  });
  const session = await openSession(gateway.url);
  await eventually(() => session.remoteSettings.enableConnectProtocol);
  const ask = (path: string, more: Record<string, string> = {}) =>
    responseOf(session.request({ ...HANDSHAKE, ":path": path, ...more }, { endStream: false }));
  expect((await ask("/proxy/page/")).status).toBe(502);
  expect((await ask("/proxy/plain/")).status).toBe(426);
  expect((await ask("/proxy/none/")).status).toBe(404);
  expect((await ask("/health")).status).toBe(405);
  expect((await ask("/proxy/page/", { ":protocol": "connect-udp" })).status).toBe(405);
  const { status, reset } = await ask("/proxy/wrong/");
  expect([status, reset]).toEqual([0, 2]);
  const plain = session.request({ ":method": "CONNECT", ":authority": "a.example:443" });
  expect((await responseOf(plain)).status).toBe(405);
});
