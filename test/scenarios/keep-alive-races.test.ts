/** An upstream may close an idle connection at the moment in which the next request is sent on it. */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway } from "../support/gateway.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const tlsFile = (name: string) => join(import.meta.dirname, "../support/tls", name);

/** A request that the upstream received completely. */
interface Received {
  readonly socket: Socket;
  readonly line: string;
  readonly body: string;
  /** The number of the request on its connection, from 1. */
  readonly nth: number;
  /** The number of the connection, from 1. */
  readonly connection: number;
}

const end = ({ socket }: Received) => socket.end();
const reset = ({ socket }: Received) => socket.resetAndDestroy();

/** An upstream of raw bytes: `onRequest` writes the response or ends the connection. */
async function start(onRequest: (received: Received) => void, service: Partial<ServiceInput> = {}, isTls = false) {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const onSocket = (socket: Socket) => {
    const connection = ++connections;
    let nth = 0;
    let text = "";
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      const [head = "", body] = text.split("\r\n\r\n", 2);
      if (body === undefined || body.length < Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)) return;
      text = "";
      const one = { socket, line: head.split(" HTTP", 1)[0] as string, body, nth: ++nth, connection };
      received.push(one);
      onRequest(one);
    });
  };
  const tls = { cert: readFileSync(tlsFile("localhost.pem")), key: readFileSync(tlsFile("localhost-key.pem")) };
  const server = isTls ? createTlsServer(tls, onSocket) : createServer(onSocket);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  const { port } = server.address() as AddressInfo;
  const baseUrl = `http${isTls ? "s" : ""}://127.0.0.1:${port}`;
  const gateway = await startGateway({ services: { api: { baseUrl, retries: 0, ...service } } });
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(`${gateway.url}/proxy/api${path}`, init);
    return { status: response.status, text: await response.text() };
  };
  const attempts = () => gateway.exchanges().map((line) => line.attempts);
  return { gateway, received, sockets, ask, attempts, lines: () => received.map(({ line }) => line) };
}

const POST = { method: "POST", body: "once" };

describe.each([
  ["ended", end, false],
  ["reset", reset, false],
  ["ended, TLS", end, true],
] as const)("reused connection that is %s under a request", (_, close, isTls) => {
  const onRequest = (one: Received) => void (one.nth === 1 ? one.socket.write(OK) : close(one));
  const service = isTls ? { tls: { caFile: tlsFile("ca.pem") } } : {};

  test("The request is sent again on a new connection, once, without retries, and the access line shows it", async () => {
    const { ask, attempts, received } = await start(onRequest, service, isTls);
    expect((await ask("/first")).status).toBe(200);
    for (const init of [{}, { method: "DELETE" }, { method: "PUT", body: "all of it" }]) {
      expect((await ask("/again", init)).status).toBe(200);
    }
    await eventually(() => attempts().length === 4);
    expect(attempts()).toEqual([1, 2, 2, 2]);
    expect(received.map(({ nth, connection }) => [connection, nth])).toEqual([
      ...[
        [1, 1],
        [1, 2],
        [2, 1],
        [2, 2],
        [3, 1],
        [3, 2],
        [4, 1],
      ],
    ]);
    expect(received.slice(-2).map(({ body }) => body)).toEqual(["all of it", "all of it"]);
  });
});

/** A connection that stays open this long after its first response counts as kept open. */
const SETTLED_MS = 10;

describe("POST", () => {
  test("A POST written to a connection that closed is never sent twice: it gets a 502", async () => {
    const { ask, lines } = await start((one) => void (one.nth <= 2 ? one.socket.write(OK) : end(one)));
    for (const path of ["/1", "/2"]) expect((await ask(path)).status).toBe(200);
    const { status, text } = await ask("/3", POST);
    expect([status, JSON.parse(text).code]).toEqual([502, "UPSTREAM_UNREACHABLE"]);
    expect(lines()).toEqual(["GET /1", "GET /2", "POST /3"]);
  });

  test("A POST does not use a connection that has just delivered its first response", async () => {
    const { ask, received } = await start((one) => {
      if (one.nth > 1) return end(one);
      one.socket.write(OK);
      setTimeout(() => one.socket.end(), 2);
    });
    let judged = 0;
    for (let i = 0; judged < 20 && i < 400; i++) {
      const askedAt = performance.now();
      const { status } = await ask(`/${i}`, POST);
      if (performance.now() - askedAt < SETTLED_MS / 2) {
        judged++;
        expect(status).toBe(200);
        continue;
      }
      // The process was suspended: an end that was not read yet made its connection seem to stay open.
      await new Promise((resolve) => setTimeout(resolve, 4 * SETTLED_MS));
    }
    expect(judged).toBe(20);
    expect(new Set(received.map(({ line }) => line)).size).toBe(received.length);
  });

  test("A POST uses a connection that its upstream is known to keep open", async () => {
    const { ask, received } = await start(({ socket }) => void socket.write(OK));
    for (const path of ["/1", "/2"]) await ask(path);
    for (let i = 0; i < 5; i++) expect((await ask(`/${i}`, POST)).status).toBe(200);
    expect(received.every(({ connection }) => connection === 1)).toBe(true);
  });

  test("A POST uses any idle connection where a new one would exceed maxConnections", async () => {
    const { ask, received } = await start(({ socket }) => void socket.write(OK), { maxConnections: 1 });
    for (let i = 0; i < 5; i++) expect((await ask(`/${i}`, POST)).status).toBe(200);
    expect(received.every(({ connection }) => connection === 1)).toBe(true);
  });

  test("A POST with a streamed body is not sent again either", async () => {
    const { ask, received } = await start((one) => void (one.nth <= 2 ? one.socket.write(OK) : reset(one)));
    for (const path of ["/1", "/2"]) await ask(path);
    expect((await ask("/3", { method: "PUT", body: "x".repeat(70_000) })).status).toBe(502);
    expect(received.length).toBe(3);
  });
});

describe("upstream failure without retries", () => {
  test("A new connection that ends without a response is an upstream failure and is not retried", async () => {
    const { ask, attempts } = await start(end);
    expect((await ask("/")).status).toBe(502);
    expect(attempts()).toEqual([1]);
  });

  test("A second connection that ends too is an upstream failure and is not retried", async () => {
    const { ask, lines } = await start(
      (one) => void (one.connection === 1 && one.nth === 1 ? one.socket.write(OK) : end(one)),
    );
    expect((await ask("/1")).status).toBe(200);
    expect((await ask("/2")).status).toBe(502);
    expect(lines()).toEqual(["GET /1", "GET /2", "GET /2"]);
  });

  test("A connection that ends after one byte of a response is an upstream failure and is not retried", async () => {
    const { ask, lines } = await start(({ nth, socket }) => void (nth === 1 ? socket.write(OK) : socket.end("H")));
    expect((await ask("/1")).status).toBe(200);
    expect((await ask("/2")).status).toBe(502);
    expect(lines()).toEqual(["GET /1", "GET /2"]);
  });
});

test("A restarted upstream causes no failed request, for any number of idle connections", async () => {
  let isDying = false;
  const waiting: Received[] = [];
  const { ask, attempts, sockets } = await start((one) => {
    if (isDying && one.nth > 1) return reset(one);
    if (isDying) return void one.socket.write(OK);
    waiting.push(one);
    if (waiting.length === 20) for (const { socket } of waiting) socket.write(OK);
  });
  const all = (path: string) => Promise.all(Array.from({ length: 20 }, () => ask(path)));
  await all("/before");
  expect(sockets.size).toBe(20);
  isDying = true;
  for (const { status } of await all("/after")) expect(status).toBe(200);
  await eventually(() => attempts().length === 40);
  expect(attempts().slice(20)).toEqual(Array.from({ length: 20 }, () => 2));
});

test("A request that is sent again is not refused where the queue for connections is full", async () => {
  const waiting: Received[] = [];
  const { ask, gateway, lines } = await start(
    (one) => {
      if (one.nth === 1 && one.connection === 1) one.socket.write(OK);
      else waiting.push(one);
    },
    { maxConnections: 1, maxPending: 1 },
  );
  await ask("/first");
  const calls = [ask("/again")];
  await eventually(() => waiting.length === 1);
  calls.push(ask("/waits"));
  await eventually(async () => {
    const { services } = (await (await fetch(`${gateway.url}/status`)).json()) as {
      services: { key: string; connections: { pending: number } }[];
    };
    return services.find(({ key }) => key === "api")?.connections.pending === 1;
  });
  end(waiting.shift() as Received);
  for (let i = 0; i < 2; i++) {
    await eventually(() => waiting.length === 1);
    waiting.shift()?.socket.write(OK);
  }
  for (const call of calls) expect((await call).status).toBe(200);
  expect(lines().slice(1).sort()).toEqual(["GET /again", "GET /again", "GET /waits"]);
});

test("A connection that the upstream has closed is never used, nor one that it keeps open for only a second", async () => {
  const short = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
  const { ask, sockets, received, attempts } = await start((one) => {
    one.socket.write(one.connection === 3 ? short : OK);
  });
  await ask("/1");
  await ask("/2");
  for (const socket of sockets) socket.end();
  await eventually(() => sockets.size === 0);
  expect((await ask("/3", POST)).status).toBe(200);
  expect((await ask("/4")).status).toBe(200);
  expect(received.map(({ connection }) => connection)).toEqual([1, 1, 2, 2]);
  for (const socket of sockets) socket.end();
  await eventually(() => sockets.size === 0);
  for (let i = 0; i < 2; i++) expect((await ask("/5", POST)).status).toBe(200);
  expect(received.map(({ connection }) => connection).slice(4)).toEqual([3, 4]);
  expect(attempts().every((count) => count === 1)).toBe(true);
});

test.each([
  ["after each response", (one: Received) => one.socket.end(OK)],
  ["a moment later", (one: Received) => one.socket.write(OK, () => setTimeout(() => one.socket.end(), 1))],
  ["by a reset", (one: Received) => one.socket.write(OK, () => setImmediate(() => one.socket.resetAndDestroy()))],
])("An upstream that closes %s without notice fails no GET", async (_, onRequest) => {
  const { ask } = await start((one) => void (one.nth === 1 && onRequest(one)));
  let asked = 0;
  const askOn = async () => {
    while (asked++ < 200) expect((await ask("/")).status).toBe(200);
  };
  await askOn();
  asked = 0;
  await Promise.all(Array.from({ length: 8 }, askOn));
});
