/** Client and upstream both send random bytes: the process survives, every exchange ends and nothing leaks. */
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";
import { startRawUpstream } from "../support/upstream.ts";

const OF_THE_UPSTREAM = [
  ...["HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 no\r\n", "HTTP/1.1 204 n\r\n", "HTTP/1.1 304 n\r\n", "HTTP/1.1 101 s\r\n"],
  ...["HTTP/1.1 100 c\r\n\r\n", "HTTP/1.1 103 c\r\n\r\n", "HTTP/1.1 000 x\r\n\r\n", "HTTP/1.0 200 OK\r\n"],
  ...["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Retry-After: 0\r\n"],
  ...["\r\n", "\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "hello", "\0", "zz\r\n", "Trailer: x\r\n", "x: \x01\r\n"],
  ...[
    "HTTP/1.1 101 s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 403 n\r\nUpgrade: websocket\r\n",
  ],
  ...["\x81\x05hello", "\x82\x7e\x01\x00", "\x88\x02\x03\xe9", "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff"],
];

const OF_THE_CLIENT = [
  ...["GET /proxy/api/ HTTP/1.1\r\n", "POST /proxy/api/ HTTP/1.1\r\n", "PUT /proxy/api/ HTTP/1.1\r\n"],
  ...[
    "HEAD /proxy/api/ HTTP/1.1\r\n",
    "GET /proxy/api/ HTTP/1.0\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET /health HTTP/1.1\r\n",
  ],
  ...["Host: localhost\r\n\r\n", "Host: localhost\r\n\r\n", "Host: localhost\r\n\r\n", "Host: localhost\r\n"],
  ...["Host: localhost\r\nContent-Length: 5\r\n\r\nhello", "Host: localhost\r\nContent-Length: 5\r\n\r\nhel"],
  ...["Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "TE: trailers\r\n"],
  ...["Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"],
  ...[
    "Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nHost: localhost\r\n\r\n",
  ],
  ...["\x81\x85\0\0\0\0hello", "\x88\x82\0\0\0\0\x03\xe9"],
  ...["Expect: 100-continue\r\n", "Connection: close\r\n", "5\r\nhello\r\n", "zz\r\n", "\0"],
];

interface Load {
  readonly inFlight: { readonly current: number };
  readonly webSockets: { readonly current: number };
}

/** mulberry32: the same bytes in every run. */
function createRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const seeds = (process.env.GARBAGE_SEEDS ?? "1,2,3").split(",").map(Number);

test.each(seeds)("Random bytes from both sides with seed %i leak nothing", async (seed) => {
  const random = createRandom(seed);
  const pick = (pieces: readonly string[]) => pieces[Math.floor(random() * pieces.length)] as string;
  const crashes: unknown[] = [];
  const onCrash = (error: unknown) => crashes.push(error);
  process.on("uncaughtException", onCrash).on("unhandledRejection", onCrash);
  onTestFinished(() => void process.off("uncaughtException", onCrash).off("unhandledRejection", onCrash));

  const upstream = await startRawUpstream((socket) => {
    for (let count = random() * 8; count > 0; count--) socket.write(Buffer.from(pick(OF_THE_UPSTREAM), "latin1"));
    const end = random();
    if (end < 0.3) socket.end();
    else if (end < 0.5) socket.resetAndDestroy();
    else if (end < 0.7) setTimeout(() => socket.destroy(), 5);
  });
  // The breaker would be open most of the time and keep the bytes away from the upstream.
  const breaker = seed % 2 === 0 ? { openMs: 20 } : (false as const);
  const service = { baseUrl: upstream.url, timeoutMs: 150, idleTimeoutMs: 150, retries: 1, ws: true, breaker };
  const gateway = await startGateway({ services: { api: service } });

  function client(): Promise<void> {
    const socket = connect(gateway.port, "127.0.0.1");
    socket.on("error", () => {}).resume();
    // A valid beginning lets more requests reach the upstream.
    socket.write(pick(OF_THE_CLIENT.slice(0, 5)));
    for (let count = 1 + random() * 5; count > 0; count--) socket.write(Buffer.from(pick(OF_THE_CLIENT), "latin1"));
    const end = random();
    if (end < 0.2) setTimeout(() => socket.resetAndDestroy(), random() * 20);
    else if (end < 0.4) socket.end();
    else setTimeout(() => socket.destroy(), 250);
    return new Promise((resolve) => socket.on("close", () => resolve()));
  }
  for (let round = 0; round < 6; round++) await Promise.all(Array.from({ length: 100 }, client));

  await eventually(() => upstream.sockets.size === 0, "the upstream's sockets to close", 6_000);
  expect(crashes).toEqual([]);
  expect(
    gateway
      .lines()
      .filter(({ msg }) => msg === "internal error" || msg === "an exchange failed with an unhandled error"),
  ).toEqual([]);
  // Between two attempts an exchange holds no upstream socket, and the gateway may learn last that its client left.
  const load = async () => ((await (await fetch(`${gateway.url}/status`)).json()) as { load: Load }).load;
  await eventually(async () => (await load()).inFlight.current === 0, "every exchange to end", 6_000);
  expect((await load()).webSockets.current).toBe(0);
  expect(gateway.exchanges().length).toBeGreaterThan(100);
});
