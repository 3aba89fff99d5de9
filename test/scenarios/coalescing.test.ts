/** Equal requests at the same time become one request to the upstream. */
import type { ServerResponse } from "node:http";
import { connect } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { startCachedApi } from "../support/cached-api.ts";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY } from "../support/gateway.ts";

const FRESH = { "cache-control": "max-age=60" };

/** Holds the responses of an upstream until they are wanted. */
function held(api: { respond: (...given: never[]) => void }): ServerResponse[] {
  const waiting: ServerResponse[] = [];
  api.respond = ((_req: unknown, res: ServerResponse) => void waiting.push(res)) as never;
  return waiting;
}

const inFlight = async (url: string) => {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  return Number(/^byteproxy_requests_in_flight\{service="api"\} (\d+)$/m.exec(metrics)?.[1]);
};

test("A thousand equal requests at the same time are one request to the upstream, and each client gets the response", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const asked = Array.from({ length: 1_000 }, () => api.ask("/proxy/api/a"));
  await eventually(async () => (await inFlight(api.gateway.url)) === 1_000, "1000 requests in flight", 20_000);
  expect(waiting).toHaveLength(1);
  waiting[0]?.writeHead(200, FRESH).end("shared");
  const received = await Promise.all(asked);
  expect(new Set(received.map(({ status, body }) => `${status} ${body}`))).toEqual(new Set(["200 shared"]));
  expect(received.filter(({ cache }) => cache === "miss")).toHaveLength(1);
  expect(received.filter(({ cache }) => cache === "coalesced")).toHaveLength(999);
  expect(api.requests).toHaveLength(1);
});

test("A response that may not be shared releases the others at once: they are in flight together, each by itself", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const asked = Array.from({ length: 10 }, () => api.ask("/proxy/api/a"));
  await eventually(async () => (await inFlight(api.gateway.url)) === 10);
  expect(waiting).toHaveLength(1);
  // The body of the first need not end for that.
  waiting[0]?.writeHead(200, { "cache-control": "no-store" });
  waiting[0]?.write("own 0");
  await eventually(() => waiting.length === 10);
  for (const [i, res] of waiting.entries()) {
    if (i > 0) res.writeHead(200, { "cache-control": "no-store" }).write(`own ${i}`);
    res.end();
  }
  const bodies = (await Promise.all(asked)).map(({ body }) => body);
  expect(new Set(bodies).size).toBe(10);
  // For a while such requests do not wait for each other.
  const more = [api.ask("/proxy/api/a"), api.ask("/proxy/api/a")];
  await eventually(() => waiting.length === 12);
  for (const res of waiting.slice(10)) res.writeHead(200, { "cache-control": "no-store" }).end();
  await Promise.all(more);
});

test("A client that leaves, also the first, ends nothing for the others; when all have left, the upstream's request ends", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const head = `GET /proxy/api/a HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
  const leaver = () => {
    const socket = connect(api.gateway.port, "127.0.0.1", () => socket.write(head));
    onTestFinished(() => void socket.destroy());
    return socket;
  };
  const first = leaver();
  await eventually(() => waiting.length === 1);
  const other = api.ask("/proxy/api/a");
  await eventually(async () => (await inFlight(api.gateway.url)) === 2);
  first.destroy();
  await eventually(async () => (await inFlight(api.gateway.url)) <= 2 && api.gateway.exchanges().length === 1);
  waiting[0]?.writeHead(200, FRESH).end("still here");
  expect(await other).toMatchObject({ status: 200, body: "still here" });
  expect(api.gateway.exchanges().map(({ outcome }) => outcome)).toEqual(["client-left", "relayed"]);
  await api.ask("/proxy/api/a", {}, "HEAD");

  const both = [leaver(), leaver()];
  api.clock.now += 100_000;
  await eventually(async () => waiting.length === 2 && (await inFlight(api.gateway.url)) === 2);
  const ended = new Promise((resolve) => waiting[1]?.on("close", resolve));
  for (const socket of both) socket.destroy();
  await ended;
  await eventually(async () => (await inFlight(api.gateway.url)) === 0);
  // It left nothing behind that a later request would wait for.
  const later = api.ask("/proxy/api/a");
  await eventually(() => waiting.length === 3);
  waiting[2]?.writeHead(200, FRESH).end("later");
  expect(await later).toMatchObject({ body: "later", cache: "miss" });
});

test("A failure of the upstream is the response to all that wait, and nothing more is sent", async () => {
  const api = await startCachedApi({ api: { cache: true, retries: 0 } });
  const waiting = held(api);
  const asked = Array.from({ length: 20 }, () => api.ask("/proxy/api/a"));
  await eventually(async () => (await inFlight(api.gateway.url)) === 20);
  waiting[0]?.destroy();
  const received = await Promise.all(asked);
  expect(new Set(received.map(({ status }) => status))).toEqual(new Set([502]));
  expect(api.requests).toHaveLength(1);
});

test("A body streams to all clients while it arrives, and one that does not read holds up no other", async () => {
  const api = await startCachedApi({ api: { cache: { maxEntryBytes: 4_194_304 } } });
  const waiting = held(api);
  const head = `GET /proxy/api/a HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
  const readers = ["", "", ""];
  const sockets = readers.map((_, i) => {
    const socket = connect(api.gateway.port, "127.0.0.1", () => socket.write(head));
    onTestFinished(() => void socket.destroy());
    socket.on("data", (chunk) => {
      readers[i] += chunk.toString("latin1");
    });
    return socket;
  });
  await eventually(async () => (await inFlight(api.gateway.url)) === 3);
  sockets[0]?.pause();
  waiting[0]?.writeHead(200, FRESH).write("begin-");
  await eventually(() => readers[1]?.includes("begin-") && readers[2]?.includes("begin-"));
  // A later client gets the bytes that have arrived, too.
  const late = api.ask("/proxy/api/a");
  const bytes = "x".repeat(3_000_000);
  waiting[0]?.end(`${bytes}-end`);
  await eventually(() => readers[1]?.includes("-end") && readers[2]?.includes("-end"));
  expect((await late).body.length).toBe(bytes.length + 10);
  sockets[0]?.resume();
  await eventually(() => readers[0]?.includes("-end"));
  expect(await api.ask("/proxy/api/a")).toMatchObject({ cache: "hit" });
});

test("Beyond maxEntryBytes the first client sets the pace, and what it does not read does not pile up", async () => {
  const api = await startCachedApi({ api: { cache: { maxEntryBytes: 65_536 } } });
  let sent = 0;
  api.respond = (_req, res) => {
    res.writeHead(200, FRESH);
    const chunk = "x".repeat(65_536);
    const send = () => {
      while (sent < 1_000 && res.write(chunk)) sent++;
      if (sent < 1_000) res.once("drain", send);
      else res.end();
      sent++;
    };
    send();
  };
  const socket = connect(api.gateway.port, "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  socket.write(`GET /proxy/api/a HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\nConnection: close\r\n\r\n`);
  socket.pause();
  let before = -1;
  let still = 0;
  // The upstream stops because the gateway reads no more.
  await eventually(() => {
    still = sent === before && sent > 0 ? still + 1 : 0;
    before = sent;
    return still === 20;
  });
  expect(sent).toBeLessThan(900);
  let received = 0;
  socket.on("data", (chunk) => {
    received += chunk.length;
  });
  socket.resume();
  await eventually(() => received > 1_000 * 65_536, "the whole body", 10_000);
});

test("A follower whose own rules differ is not joined, and each caller is authorized by itself", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const first = api.ask("/proxy/api/a");
  await eventually(() => waiting.length === 1);
  expect((await api.ask("/proxy/api/a", { "x-api-key": "wrong-key-0123456789abcdef" })).status).toBe(401);
  const own = api.ask("/proxy/api/a", { "cache-control": "no-cache" });
  const part = api.ask("/proxy/api/a", { range: "bytes=0-1" });
  const conditional = api.ask("/proxy/api/a", { "if-none-match": '"x"' });
  await eventually(() => waiting.length === 4);
  for (const res of waiting) res.writeHead(200, FRESH).end("body");
  for (const each of [first, own, part, conditional]) expect((await each).status).toBe(200);
});

test("Event streams are neither joined nor stored, whatever their Cache-Control says", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const stream = { ...FRESH, "content-type": "Text/Event-Stream; charset=utf-8", etag: '"1"' };
  const first = [api.ask("/proxy/api/e"), api.ask("/proxy/api/e")];
  await eventually(async () => (await inFlight(api.gateway.url)) === 2);
  waiting[0]?.writeHead(200, stream).flushHeaders();
  await eventually(() => waiting.length === 2);
  waiting[1]?.writeHead(200, stream);
  // One that says what it wants waits for no other.
  const named = { accept: "text/event-stream" };
  const second = [api.ask("/proxy/api/f", named), api.ask("/proxy/api/f", named)];
  await eventually(() => waiting.length === 4);
  for (const res of waiting.slice(2)) res.writeHead(200, stream);
  for (const [i, res] of waiting.entries()) res.end(`data: ${i}\n\n`);
  const received = await Promise.all([...first, ...second]);
  expect(new Set(received.map(({ body }) => body)).size).toBe(4);
  expect(received.map(({ cache }) => cache)).toEqual(["miss", "miss", "miss", "miss"]);
  api.respond = (_req, res) => res.writeHead(200, stream).end("data: new\n\n");
  expect(await api.ask("/proxy/api/e")).toMatchObject({ cache: "miss", body: "data: new\n\n" });
});

test("After a long poll that could not be shared, further polls do not wait for each other", async () => {
  const api = await startCachedApi();
  const waiting = held(api);
  const round = async () => {
    const polls = [api.ask("/proxy/api/poll"), api.ask("/proxy/api/poll")];
    await eventually(async () => (await inFlight(api.gateway.url)) === 2);
    return polls;
  };
  const end = async (polls: readonly Promise<unknown>[], seen: number) => {
    api.clock.now += 30_000;
    waiting[seen]?.writeHead(200, { "cache-control": "no-store" }).end();
    await eventually(() => waiting.length === seen + 2);
    waiting[seen + 1]?.writeHead(200, { "cache-control": "no-store" }).end();
    await Promise.all(polls);
  };
  await end(await round(), 0);
  for (let seen = 2; seen < 8; seen += 2) {
    const polls = await round();
    await eventually(() => waiting.length === seen + 2);
    await end(polls, seen);
  }
});

test("A request that waits for its quota uses the slot of one that waits for it, so that its own followers do not keep it out", async () => {
  const quota = { mode: "hold", maxWaitMs: 10_000 } as const;
  const api = await startCachedApi({ held: { cache: true, maxConcurrent: 2, quota } });
  const spent = { ...FRESH, "ratelimit-limit": "1", "ratelimit-remaining": "0", "ratelimit-reset": "1" };
  api.respond = (_req, res) => res.writeHead(200, spent).end("body");
  await api.ask("/proxy/held/first");
  const leader = api.ask("/proxy/held/a");
  const waitingRequests = async () =>
    /^byteproxy_quota_waiting\{service="held"\} (\d+)$/m.exec(
      await (await fetch(`${api.gateway.url}/metrics`)).text(),
    )?.[1];
  await eventually(async () => (await waitingRequests()) === "1");
  const followers = [api.ask("/proxy/held/a"), api.ask("/proxy/held/a")];
  const received = await Promise.all([leader, ...followers]);
  expect(received.map(({ status, cache }) => `${status} ${cache}`)).toEqual([
    "200 miss",
    "200 coalesced",
    "200 coalesced",
  ]);
  // All slots are free again.
  const more = await Promise.all([api.ask("/proxy/held/a"), api.ask("/proxy/held/a")]);
  expect(more.map(({ cache }) => cache)).toEqual(["hit", "hit"]);
});

test("What a slow client has not taken counts against maxBytes, also after it has arrived", async () => {
  const api = await startCachedApi({ api: { cache: { maxEntryBytes: 16_777_216, maxBytes: 16_777_216 } } });
  const body = Buffer.alloc(12_000_000, "x");
  api.respond = (_req, res) => res.writeHead(200, { ...FRESH, "content-length": body.length }).end(body);
  const slow = connect(api.gateway.port, "127.0.0.1", () => {
    slow.write(`GET /proxy/api/a HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
  });
  onTestFinished(() => void slow.destroy());
  slow.once("data", () => slow.pause());
  await eventually(async () => (await api.ask("/proxy/api/a", {}, "HEAD")).cache === "hit");
  for (let i = 0; i < 2; i++) {
    expect(await api.ask("/proxy/api/b")).toMatchObject({ status: 200, cache: "miss", isCut: false });
  }
  slow.destroy();
  await eventually(async () => (await inFlight(api.gateway.url)) === 0);
  await api.ask("/proxy/api/b");
  expect((await api.ask("/proxy/api/b", {}, "HEAD")).cache).toBe("hit");
});

test("A stored response that slow clients receive counts against maxBytes after it was removed, too", async () => {
  const api = await startCachedApi({ api: { cache: { maxEntryBytes: 16_777_216, maxBytes: 16_777_216 } } });
  const body = Buffer.alloc(12_000_000, "x");
  api.respond = (_req, res) => res.writeHead(200, { ...FRESH, "content-length": body.length }).end(body);
  await api.ask("/proxy/api/a");
  let hasBegun = false;
  const slow = connect(api.gateway.port, "127.0.0.1", () => {
    slow.write(`GET /proxy/api/a HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`);
  });
  onTestFinished(() => void slow.destroy());
  slow.once("data", () => {
    slow.pause();
    hasBegun = true;
  });
  await eventually(() => hasBegun);
  for (let i = 0; i < 2; i++) expect(await api.ask("/proxy/api/b")).toMatchObject({ status: 200, cache: "miss" });
  slow.destroy();
  await eventually(async () => (await inFlight(api.gateway.url)) === 0);
  await api.ask("/proxy/api/b");
  expect((await api.ask("/proxy/api/b", {}, "HEAD")).cache).toBe("hit");
});
