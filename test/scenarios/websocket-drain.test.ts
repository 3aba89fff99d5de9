/** The drain of a gateway with open WebSockets: each is closed with 1001 between two frames, and none delays the end. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

const HANDSHAKE =
  "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const GOING_AWAY = "\x88\x02\x03\xe9";

/** Opens a WebSocket by hand and returns the sockets of the client and of the upstream. */
async function join() {
  let peer: Socket | undefined;
  const upstream = await startRawUpstream((socket, received) => {
    peer = socket;
    if (received.endsWith("\r\n\r\n")) socket.write(ACCEPT);
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, ws: true } } });
  const client = await openSocket(gateway.port);
  client.write(HANDSHAKE);
  await eventually(() => client.received.includes("\r\n\r\n"));
  client.received = "";
  return { gateway, upstream, client, peer: peer as Socket };
}

test("On a drain a hundred clients and their upstreams get 1001, and the gateway ends quickly without a cut", async () => {
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({ services: { api: { baseUrl: echo.url, ws: true } } });
  const codes: number[] = [];
  const upstreamCodes: number[] = [];
  echo.server.on("connection", (socket) => socket.on("close", (code) => upstreamCodes.push(code)));
  const clients = Array.from({ length: 100 }, () => new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/`));
  for (const client of clients) client.on("close", (code) => codes.push(code));
  await Promise.all(clients.map((client) => once(client, "open")));
  const startedAt = performance.now();
  expect(await gateway.drain(0, 8_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(4_000);
  await eventually(() => codes.length === 100 && upstreamCodes.length === 100);
  expect(new Set([...codes, ...upstreamCodes])).toEqual(new Set([1001]));
});

test("For SHUTDOWN_DELAY open WebSockets continue and new ones are still admitted", async () => {
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({ services: { api: { baseUrl: echo.url, ws: true } } });
  const early = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/`);
  await once(early, "open");
  const drained = gateway.drain(300, 5_000);
  const late = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/`);
  await once(late, "open");
  for (const client of [early, late]) {
    client.send("still here");
    expect(String(((await once(client, "message")) as [Buffer])[0])).toBe("still here");
  }
  expect(await drained).toBe(0);
});

test("A frame in progress is completed before the close frame, and later frames are not sent", async () => {
  const { gateway, client, peer } = await join();
  peer.write(Buffer.from([0x82, 10, 1, 2, 3]));
  await eventually(() => client.received.length === 5);
  const drained = gateway.drain(0, 3_000);
  await eventually(async () => (await fetch(`${gateway.url}/health`).catch(() => "closed")) === "closed");
  peer.write(Buffer.from([4, 5, 6]));
  await eventually(() => client.received.length === 8);
  peer.write(Buffer.concat([Buffer.from([7, 8, 9, 10]), Buffer.from([0x81, 1, 97])]));
  await eventually(() => client.received.length >= 12 + 4);
  expect(client.received.slice(0, 12)).toBe("\x82\x0a\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a");
  expect(client.received.slice(12)).toBe(GOING_AWAY);
  // A client's frames are masked. Its close frame is forwarded, so that the upstream sees the reason.
  client.write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]));
  expect(await drained).toBe(0);
  expect(client.received.slice(12)).toBe(GOING_AWAY);
});

test("A client that does not respond to the close frame is cut when SHUTDOWN_TIMEOUT is over, and counts as a cut", async () => {
  const { gateway, client, upstream } = await join();
  const startedAt = performance.now();
  expect(await gateway.drain(0, 300)).toBe(1);
  expect(performance.now() - startedAt).toBeLessThan(1_500);
  expect(client.received).toBe(GOING_AWAY);
  await eventually(() => client.closed && upstream.sockets.size === 0);
});

test("Clients that are silent after the close frame are disconnected after two seconds and do not count as cuts", async () => {
  const { gateway, client, upstream } = await join();
  const startedAt = performance.now();
  expect(await gateway.drain(0, 20_000)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(6_000);
  expect(client.received).toBe(GOING_AWAY);
  await eventually(() => client.closed && upstream.sockets.size === 0);
});

test("A client that still sends after the close frame has until SHUTDOWN_TIMEOUT", async () => {
  const { gateway, client } = await join();
  const startedAt = performance.now();
  // A frame without an end: the client could respond only after it.
  client.write("\x82\xff\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00", "latin1");
  const talk = setInterval(() => client.write("more"), 100);
  expect(await gateway.drain(0, 4_500)).toBe(1);
  clearInterval(talk);
  expect(performance.now() - startedAt).toBeGreaterThan(4_400);
});

test("A handshake in progress at the end of SHUTDOWN_DELAY gets its response, followed by 1001", async () => {
  let accept = () => {};
  const upstream = await startRawUpstream((socket) => {
    accept = () => socket.write(ACCEPT);
  });
  const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, ws: true } } });
  const client = await openSocket(gateway.port);
  client.write(HANDSHAKE);
  await eventually(() => upstream.received.length === 1);
  const drained = gateway.drain(0, 3_000);
  await eventually(async () => (await fetch(`${gateway.url}/health`).catch(() => "closed")) === "closed");
  accept();
  await eventually(() => client.received.endsWith(GOING_AWAY));
  client.end();
  expect(await drained).toBe(0);
});

test("A client that reconnects at once after 1001 is not admitted again", async () => {
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({ services: { api: { baseUrl: echo.url, ws: true } } });
  const outcomes: unknown[] = [];
  const come = () => {
    const client = new WebSocket(`ws://127.0.0.1:${gateway.port}/proxy/api/`);
    client.on("error", (error: NodeJS.ErrnoException) => outcomes.push(error.code));
    client.on("close", (code) => {
      if (code !== 1001) return;
      outcomes.push(code);
      come();
    });
    return client;
  };
  const clients = Array.from({ length: 20 }, come);
  await Promise.all(clients.map((client) => once(client, "open")));
  expect(await gateway.drain(0, 5_000)).toBe(0);
  await eventually(() => outcomes.length === 40);
  expect(outcomes.filter((outcome) => outcome === 1001)).toHaveLength(20);
  expect(outcomes.filter((outcome) => outcome === "ECONNREFUSED")).toHaveLength(20);
});
