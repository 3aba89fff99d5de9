/** A WebSocket's connection to the upstream while it is being opened. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream } from "../support/upstream.ts";

const HANDSHAKE =
  "GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

test("A WebSocket connection that is being opened ends at once when its client leaves, or at timeoutMs, and counts for maxWebSockets", async () => {
  // This server never responds to the TLS handshake.
  const upstream = await startRawUpstream(() => {});
  const baseUrl = upstream.url.replace("http:", "https:");
  const api = {
    baseUrl,
    ws: true,
    maxWebSockets: 1,
    connectTimeoutMs: 60_000,
    timeoutMs: 1_000,
    breaker: false,
  } as const;
  const gateway = await startGateway({ services: { api } });
  for (let count = 1; count <= 5; count++) {
    const client = await openSocket(gateway.port);
    client.write(HANDSHAKE);
    await eventually(() => upstream.received.length === count && upstream.sockets.size === 1);
    client.destroy();
    await eventually(() => upstream.sockets.size === 0);
  }
  const patient = await openSocket(gateway.port);
  patient.write(HANDSHAKE);
  await eventually(() => patient.received.includes("UPSTREAM_TIMEOUT"));
  await eventually(() => upstream.sockets.size === 0);
  expect(gateway.exchanges().map(({ outcome }) => outcome)).toEqual([
    ...new Array(5).fill("client-left"),
    "failed:UPSTREAM_TIMEOUT",
  ]);
});
