/** The end of a WebSocket with a peer that never closes, and of a process with thousands of idle WebSockets. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { startProcess } from "../support/process.ts";
import { startRawUpstream } from "../support/upstream.ts";

const COUNT = 2_000;
/** Concurrent handshakes. */
const AT_ONCE = 100;
const HANDSHAKE =
  "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPT = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const GOING_AWAY = "\x88\x02\x03\xe9";
/** The client's close frame: masked, with the same code. */
const CLOSE = Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);

/** Resolves after the handshake. @param onGone called at the close with the bytes that were received after the handshake. */
function openWebSocket(port: number, onGone: (received: string) => void): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  let received = "";
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      if (received.endsWith("\r\n\r\n")) {
        received = "";
        resolve(socket);
      } else if (received === GOING_AWAY) socket.write(CLOSE);
    });
    socket.on("close", () => onGone(received));
    socket.write(HANDSHAKE);
  });
}

test("2,000 idle WebSockets are each closed with 1001, and the process exits with 0 in time", {
  timeout: 30_000,
}, async () => {
  const upstream = await startRawUpstream((socket, received) => {
    if (!received.endsWith("\r\n\r\n")) socket.end();
    else socket.write(ACCEPT);
  });
  const file = JSON.stringify({ services: { api: { baseUrl: upstream.url, ws: true } } });
  const env = { CONFIG_FILE: "s.json", ACCESS_LOG: "false", SHUTDOWN_TIMEOUT: "8000" };
  const gateway = startProcess(env, [], { "s.json": file });
  const port = await gateway.port();

  const closeFrames: string[] = [];
  const clients: Socket[] = [];
  onTestFinished(() => {
    for (const client of clients) client.destroy();
  });
  const openSome = async () => {
    for (let i = 0; i < COUNT / AT_ONCE; i++)
      clients.push(await openWebSocket(port, (received) => closeFrames.push(received)));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, openSome));
  expect(upstream.sockets.size).toBe(COUNT);

  const stoppedAt = performance.now();
  gateway.child.kill("SIGTERM");
  expect(await gateway.ended).toBe(0);
  expect(performance.now() - stoppedAt).toBeLessThan(8_000);
  await eventually(() => closeFrames.length === COUNT);
  expect(new Set(closeFrames)).toEqual(new Set([GOING_AWAY]));
  await eventually(() => upstream.sockets.size === 0);
});

/** The remaining side never closes and never reads: only destroying the socket frees the gateway's end of it. */
test.each([
  ["A client", "upstream", "resetAndDestroy"],
  ["A client", "upstream", "destroy"],
  ["An upstream", "client", "resetAndDestroy"],
  ["An upstream", "client", "destroy"],
] as const)(
  "%s that never closes is disconnected within two seconds when the %s leaves (%s)",
  async (_, leaves, how) => {
    const peers: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      peers.push(socket.on("error", () => {}));
      socket.once("data", () => socket.pause().write(ACCEPT));
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port: upstreamPort } = server.address() as AddressInfo;
    const services = { api: { baseUrl: `http://127.0.0.1:${upstreamPort}`, ws: true } };
    const gateway = await startGateway({ services });
    const client = connect({ port: gateway.port, host: "127.0.0.1", allowHalfOpen: true });
    client.on("error", () => {});
    onTestFinished(() => {
      for (const socket of [client, ...peers]) socket.destroy();
      server.close();
    });
    client.write(HANDSHAKE);
    await once(client, "data");
    client.pause();
    (leaves === "client" ? client : (peers[0] as Socket))[how]();
    // The access line is written when both of the gateway's sockets are closed.
    await eventually(() => gateway.exchanges()[0]?.status === 101, "both sides to be closed", 2_500);
  },
);
