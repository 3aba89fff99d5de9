/** TLS connections to an upstream: how many handshakes there are, which of them are resumed, and the name that they request. */
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterEach, expect, test, vi } from "vitest";
import { createDial } from "../../src/data-plane/forward/egress.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const file = (name: string) => join(import.meta.dirname, "../support/tls", name);
const GET = "GET /proxy/api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

afterEach(() => void vi.useRealTimers());

/** @param headers of each response. */
async function startTlsUpstream(headers: Record<string, string> = {}) {
  const cert = readFileSync(file("localhost.pem"));
  const server = createServer({ cert, key: readFileSync(file("localhost-key.pem")) });
  // So it sends no Keep-Alive header, and closes no idle connection.
  server.keepAliveTimeout = 0;
  const handshakes: { readonly isResumed: boolean; readonly servername: string | false | null }[] = [];
  server.on("secureConnection", (socket) => {
    handshakes.push({ isResumed: socket.isSessionReused(), servername: socket.servername });
  });
  const upstream = await startUpstream((_, res) => res.writeHead(200, headers).end("ok"), server);
  return { ...upstream, handshakes };
}

async function startTlsGateway(port: number) {
  const api = { baseUrl: `https://localhost:${port}`, tls: { caFile: file("ca.pem") } };
  const gateway = await startGateway({ services: { api } });
  return async () => expect((await rawRequest(gateway.port, GET)).status).toBe(200);
}

test("A request every ten seconds for a minute needs one TLS handshake", async () => {
  const { port, handshakes } = await startTlsUpstream();
  const ask = await startTlsGateway(port);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  for (let i = 0; i < 7; i++) {
    await ask();
    await vi.advanceTimersByTimeAsync(10_000);
  }
  expect(handshakes).toHaveLength(1);
  // The default of idleConnectionMs.
  await vi.advanceTimersByTimeAsync(60_000);
  await ask();
  expect(handshakes).toHaveLength(2);
});

test("A later TLS connection resumes the session of the one before", async () => {
  const { port, handshakes, sockets } = await startTlsUpstream({ connection: "close" });
  const ask = await startTlsGateway(port);
  for (let i = 0; i < 3; i++) {
    await ask();
    await eventually(() => sockets.size === 0, "the end of the connection");
  }
  expect(handshakes.map(({ isResumed }) => isResumed)).toEqual([false, true, true]);
});

test.each([
  ["the host of the URL", "localhost", undefined, "localhost"],
  ["the host without its trailing dot", "localhost.", undefined, "localhost"],
  ["no name for an address", "127.0.0.1", undefined, false],
  ["tls.servername", "127.0.0.1", "localhost", "localhost"],
] as const)("The TLS handshake requests the right name: %s", async (_, hostname, servername, expected) => {
  const { port, handshakes } = await startTlsUpstream();
  const dial = createDial({
    service: { connectTimeoutMs: 2_000, tls: servername === undefined ? {} : { servername } },
    pem: { ca: readFileSync(file("ca.pem"), "utf8") },
    isTlsStrict: true,
    egress: {
      allowsPrivate: true,
      ownListeners: () => [],
      resolve: (_hostname, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]),
    },
  });
  const socket = await new Promise<TLSSocket>((resolve, reject) => {
    const target = { hostname, host: `${hostname}:${port}`, protocol: "https:", port: String(port) };
    dial(target, (error, connected) => (error === null ? resolve(connected as TLSSocket) : reject(error)));
  });
  await eventually(() => handshakes.length === 1, "the handshake");
  expect([socket.authorized, handshakes[0]?.servername]).toEqual([true, expected]);
  socket.destroy();
});
