/** The circuit breaker together with the queue for connections, and with clients that make an upstream fail. */
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import type { BreakerState } from "../../src/data-plane/forward/breaker.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";

interface Seen {
  readonly breaker: BreakerState;
  readonly connections: { readonly busy: number; readonly pending: number };
}

async function seen({ url }: TestGateway): Promise<Seen> {
  const { services } = (await (await fetch(`${url}/status`)).json()) as { services: (Seen & { key: string })[] };
  return services.find(({ key }) => key === "api") as Seen;
}

/** One connection to an upstream that responds with 503 to `/bad`, with 200 to `/good`, and to other requests when the test does. */
async function startNarrow(service: Partial<ServiceInput> = {}) {
  const held: ServerResponse[] = [];
  const upstream = await startUpstream((req, res) => {
    req.resume();
    if (req.url === "/bad") res.writeHead(503).end();
    else if (req.url === "/good") res.end("ok");
    else held.push(res);
  });
  const api = { baseUrl: upstream.url, maxConnections: 1, retries: 0, ...service };
  const gateway = await startGateway({ services: { api } });
  const get = (path: string) => fetch(`${gateway.url}/proxy/api${path}`);
  const pending = (count: number) => eventually(async () => (await seen(gateway)).connections.pending === count);
  return { held, upstream, gateway, get, pending };
}

const codeOf = ({ status, headers }: Response) => headers.get("x-proxy-error") ?? status;

test("Requests that wait for a connection when the breaker opens are refused at once, and none of them is sent", async () => {
  const { held, upstream, gateway, get, pending } = await startNarrow({ breaker: { minRequests: 4, openMs: 60_000 } });
  const first = get("/held");
  await eventually(() => held.length === 1);
  const waiting: Promise<Response>[] = [];
  for (let i = 0; i < 20; i++) {
    waiting.push(get("/bad"));
    await pending(i + 1);
  }
  held[0]?.end("ok");
  expect((await first).status).toBe(200);
  const codes = (await Promise.all(waiting)).map(codeOf);
  expect(codes.slice(0, 3)).toEqual([503, 503, 503]);
  expect(codes.slice(3)).toEqual(new Array(17).fill("CIRCUIT_OPEN"));
  expect(upstream.requests).toHaveLength(4);
  expect(gateway.exchanges().at(-1)).toMatchObject({ outcome: "refused:CIRCUIT_OPEN", attempts: 0 });
  expect(await seen(gateway)).toMatchObject({ breaker: { state: "open" }, connections: { busy: 0, pending: 0 } });
});

test("The one attempt of a half-open breaker may wait for a connection, and if its client leaves, the next request is the attempt", async () => {
  const breaker = { minRequests: 4, openMs: 20 };
  const { held, upstream, gateway, get, pending } = await startNarrow({ ws: true, breaker });
  const first = get("/held");
  await eventually(() => held.length === 1);
  // Handshakes do not count as connections of the service.
  const upgrade =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
  for (let i = 0; i < 4; i++) {
    await rawRequest(gateway.port, `GET /proxy/api/bad HTTP/1.1\r\nHost: localhost\r\n${upgrade}\r\n\r\n`);
  }
  await eventually(async () => (await seen(gateway)).breaker.state === "half-open");
  const leaving = await openSocket(gateway.port);
  leaving.write("GET /proxy/api/bad HTTP/1.1\r\nHost: localhost\r\n\r\n");
  await pending(1);
  expect(codeOf(await get("/good"))).toBe("CIRCUIT_OPEN");
  leaving.destroy();
  await pending(0);
  const waiting = get("/good");
  await pending(1);
  expect(codeOf(await get("/good"))).toBe("CIRCUIT_OPEN");
  held[0]?.end("ok");
  expect([await first, await waiting].map(codeOf)).toEqual([200, 200]);
  expect(upstream.requests).toHaveLength(6);
  expect(await seen(gateway)).toMatchObject({ breaker: { state: "closed" }, connections: { busy: 0, pending: 0 } });
});

test("Uploads that stop and that the upstream then aborts do not open the breaker; complete uploads do", async () => {
  const upstream = await startRawUpstream((socket, received) => {
    if (received.endsWith("half")) socket.destroy();
  });
  const api = { baseUrl: upstream.url, breaker: { minRequests: 4, openMs: 60_000 } };
  const gateway = await startGateway({ services: { api } });
  for (let i = 0; i < 6; i++) {
    const stopping = await openSocket(gateway.port);
    stopping.write("POST /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    await eventually(() => stopping.received.includes("UPSTREAM_UNREACHABLE"));
  }
  expect((await seen(gateway)).breaker).toMatchObject({ state: "closed", failures: 0, requests: 0 });
  const whole = (body: string) => fetch(`${gateway.url}/proxy/api/`, { method: "POST", body });
  for (let i = 0; i < 4; i++) expect((await whole("all that is sent is half")).status).toBe(502);
  expect((await seen(gateway)).breaker).toMatchObject({ state: "open", failures: 4, requests: 4 });
});
