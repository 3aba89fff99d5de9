/**
 * Everything at once: an upstream that misbehaves, clients that leave, services that are changed and removed. Every acquired resource is released.
 * `STORM_SEED` and `STORM_SIZE` select another sequence.
 */
import { readdirSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";

const SEED = Number(process.env.STORM_SEED ?? 7);
const SIZE = Number(process.env.STORM_SIZE ?? 400);
const CONCURRENT = 40;

/** Upper bound of the idle connections that remain, of clients and to the upstream. */
const KEPT_DESCRIPTORS = 20;

/** mulberry32: the same sequence for the same seed, as far as sockets allow. */
function createChance(seed: number) {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
  return {
    upTo: (limit: number) => Math.floor(next() * limit),
    of: <T>(choices: readonly T[]) => choices[Math.floor(next() * choices.length)] as T,
  };
}

type Chance = ReturnType<typeof createChance>;

const OK =
  "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 900\r\nX-RateLimit-Remaining: 800\r\nX-RateLimit-Reset: 60\r\nContent-Length: 2\r\n\r\nok";
const UPGRADED =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n";

/** The upstream's possible responses, and what it then does with the connection. */
const RESPONSES: readonly (readonly [bytes: string, then: "keep" | "end" | "reset" | "half"])[] = [
  ...new Array(10).fill([OK, "keep"]),
  [OK, "end"],
  [OK, "reset"],
  ["HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "end"],
  ["HTTP/1.0 200 OK\r\n\r\nold", "end"],
  ["HTTP/1.1 200 OK\r\n\r\ncut", "reset"],
  ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "end"],
  ["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "keep"],
  ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "reset"],
  ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "keep"],
  [`${OK}HTTP/1.1 200 OK\r\n\r\n`, "keep"],
  [`${OK}rubbish`, "keep"],
  ["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n", "keep"],
  ["HTTP/1.1 204 No Content\r\n\r\n", "keep"],
  ["HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "keep"],
  ["HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", "end"],
  ["HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n", "keep"],
  ["HTTP/1.1 503 Not Now\r\nRetry-After: 0\r\nContent-Length: 3\r\n\r\nnot", "keep"],
  ["HTTP/1.1 502 Bad Gateway\r\nContent-Length: 9\r\n\r\nnot", "keep"],
  ["HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", "keep"],
  ["HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n".padEnd(200_000, "x"), "keep"],
  [UPGRADED, "keep"],
  [`${UPGRADED}\x81\x02hi`, "half"],
  ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n", "keep"],
  ["rubbish\r\n\r\n", "keep"],
  ["HTTP/1.1 2", "reset"],
  ["", "keep"],
  ["", "end"],
  ["", "reset"],
];

/** Each request gets a random response, at once or late, before or after its body. While `isCalm`, all responses are valid. */
async function startBadUpstream(chance: Chance) {
  const state = { isCalm: false };
  const sockets = new Set<Socket>();
  const posts = new Map<string, number>();
  const response = (socket: Socket) => {
    const [bytes, then] = state.isCalm ? ([OK, "keep"] as const) : chance.of(RESPONSES);
    socket.write(Buffer.from(bytes, "latin1"));
    if (then === "end") socket.end();
    else if (then === "reset") setTimeout(() => socket.resetAndDestroy(), chance.upTo(5));
    else if (then === "half") setTimeout(() => socket.end(), chance.upTo(5));
  };
  const server = createServer({ allowHalfOpen: chance.upTo(2) === 0 }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => sockets.delete(socket));
    if (!state.isCalm && chance.upTo(12) === 0) return socket.resetAndDestroy();
    socket.on("data", (chunk) => {
      const text = chunk.toString("latin1");
      for (const [, id = ""] of text.matchAll(/^POST \S*\?id=(\d+) /gm)) posts.set(id, (posts.get(id) ?? 0) + 1);
      if (!/^(GET|HEAD|PUT|POST) /.test(text)) return;
      if (state.isCalm) response(socket);
      else setTimeout(response, chance.of([0, 0, 1, 5, 20]), socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return { state, sockets, posts, url: `http://127.0.0.1:${port}` };
}

/** One client: sends one of many requests, and leaves after the response or at a random time. */
function oneClient(port: number, id: number, chance: Chance): Promise<void> {
  const service = chance.of(["a", "a", "b", "b/two"]);
  const method = chance.of(["GET", "GET", "HEAD", "PUT", "POST", "POST"]);
  const target = `${method} /proxy/${service}/x?id=${id} HTTP/1.1\r\nHost: localhost\r\n`;
  const upgrade = `GET /proxy/${service}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`;
  const hasBody = method === "PUT" || method === "POST";
  const length = chance.of([3, 3, 70_000]);
  const pieces = hasBody
    ? [
        `${target}${chance.upTo(6) === 0 ? "Expect: 100-continue\r\n" : ""}Content-Length: ${length}\r\n\r\n`,
        "x".repeat(length),
      ]
    : [chance.upTo(4) === 0 ? upgrade : `${target}\r\n`];
  const isWhole = chance.upTo(5) > 0;
  const leavesAfterMs = chance.of([0, 1, 5, 20, 60, 300, 300, 300, 300, 300, 300]);
  const isReading = chance.upTo(8) > 0;
  const resets = chance.upTo(2) === 0;
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const leave = () => (resets ? socket.resetAndDestroy() : socket.destroy());
    const timer = setTimeout(leave, leavesAfterMs);
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
    if (isReading) socket.on("data", () => void (leavesAfterMs === 300 && setTimeout(leave, chance.of([0, 5]))));
    socket.write(pieces[0] as string);
    const body = pieces[1];
    if (body !== undefined)
      setTimeout(
        () => socket.writable && socket.write(isWhole ? body : body.slice(0, body.length / 2)),
        chance.of([0, 0, 2, 10]),
      );
  });
}

const COMMON = {
  ws: true,
  maxConnections: 3,
  maxPending: 8,
  maxConcurrent: 30,
  maxWebSockets: 4,
  retries: 2,
  timeoutMs: 60,
  connectTimeoutMs: 50,
  idleTimeoutMs: 80,
};

const definition = (url: string, chance: Chance) => ({
  ...COMMON,
  baseUrl: url,
  versionedBaseUrls: { two: url.replace("127.0.0.1", "localhost") },
  maxConnections: chance.of([1, 2, 3]),
  breaker: { minRequests: 4, failureRatio: chance.of([0.3, 0.6]), windowMs: 200, openMs: chance.of([5, 20]) },
  quota: { mode: chance.of(["off", "observe", "hold", "hold", "hold"] as const), maxWaitMs: 30 },
});

async function changeServices(gateway: TestGateway, url: string, chance: Chance, isOver: () => boolean) {
  while (!isOver()) {
    await new Promise((resolve) => setTimeout(resolve, chance.of([5, 20, 50, 100])));
    const config = definition(url, chance);
    if (chance.upTo(6) === 0) await manage(gateway, "DELETE", "/services/a");
    else if (chance.upTo(2) === 0) await manage(gateway, "PUT", "/services/a", config);
    else await manage(gateway, "PATCH", "/services/b", { timeoutMs: chance.of([40, 60, 80]) });
  }
  await manage(gateway, "PUT", "/services/a", definition(url, chance));
}

interface Counts {
  readonly inFlight: { readonly current: number };
  readonly webSockets: { readonly current: number };
  readonly connections: { readonly busy: number; readonly pending: number };
}

/** All resources that are acquired now, by name; empty when all exchanges are over. */
async function acquired(gateway: TestGateway): Promise<Record<string, number>> {
  const { load, services } = (await (await fetch(`${gateway.url}/status`)).json()) as {
    load: Pick<Counts, "inFlight" | "webSockets">;
    services: (Counts & { key: string })[];
  };
  const { inFlight: all, webSockets: open } = load;
  const found: Record<string, number> = { "all in flight": all.current, "all WebSockets": open.current };
  for (const { key, inFlight, webSockets, connections } of services) {
    const { busy, pending } = connections;
    Object.assign(found, { [`${key}, in flight`]: inFlight.current, [`${key}, WebSockets`]: webSockets.current });
    Object.assign(found, { [`${key}, busy`]: busy, [`${key}, pending`]: pending });
  }
  const quotas = JSON.stringify((await manage(gateway, "GET", "/quota")).body);
  for (const [, name, count] of quotas.matchAll(/"(inFlight|waiting)":(-?\d+)/g)) {
    found[`quota, ${name}`] = (found[`quota, ${name}`] ?? 0) + Number(count);
  }
  // The metrics also count services that were removed or replaced.
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  for (const [, name, count] of metrics.matchAll(/^byteproxy_(\w*in_flight\S*) (-?\d+)$/gm))
    found[name as string] = Number(count);
  return Object.fromEntries(Object.entries(found).filter(([, count]) => count !== 0));
}

const descriptors = () => readdirSync("/proc/self/fd").length;

test("After random faults and changes every slot, connection, pass and ticket is released, no POST was sent twice, and all services work", async () => {
  const chance = createChance(SEED);
  const upstream = await startBadUpstream(chance);
  const gateway = await startGateway({
    env: {
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      SHUTDOWN_TIMEOUT: "100",
      MAX_IN_FLIGHT: "30",
      MAX_WEBSOCKETS: "6",
      SEND_TIMEOUT: "100",
    },
    services: { b: definition(upstream.url, chance) },
  });
  await manage(gateway, "PUT", "/services/a", definition(upstream.url, chance));
  const before = descriptors();
  let next = 0;
  // The services that exist from here on have to work until the end.
  const changes = changeServices(gateway, upstream.url, chance, () => next > SIZE / 2);
  const one = async () => {
    while (next < SIZE) await oneClient(gateway.port, next++, chance);
  };
  await Promise.all(Array.from({ length: CONCURRENT }, one));
  await changes;

  upstream.state.isCalm = true;
  const allReleased = () =>
    vi.waitFor(async () => expect(await acquired(gateway)).toEqual({}), { timeout: 3_000, interval: 20 });
  await allReleased();
  for (const path of ["a/", "b/", "b/two/"]) {
    const init = { headers: { connection: "close" } };
    await eventually(
      async () => (await fetch(`${gateway.url}/proxy/${path}`, init)).status === 200,
      `200 from ${path}`,
    );
  }
  const reuse = (i: number) =>
    fetch(`${gateway.url}/proxy/${i % 2 ? "a" : "b"}/kept`).then((response) => response.text());
  for (let round = 0; round < 15; round++) await Promise.all([0, 1, 2, 3].map(reuse));
  await allReleased();
  expect([...upstream.posts.values()].filter((count) => count > 1)).toEqual([]);
  await eventually(() => descriptors() <= before + KEPT_DESCRIPTORS, "descriptors to be closed");
  const lines = gateway.lines();
  expect(lines.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  const outcomes = new Set(lines.map(({ outcome }) => outcome));
  // The faults did occur.
  for (const each of ["relayed", "client-left", "failed:UPSTREAM_UNREACHABLE"]) expect(outcomes).toContain(each);
});
