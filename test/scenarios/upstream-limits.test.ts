/** Connections to an upstream and requests that wait for one are bounded, and requests to other services do not wait. */
import { writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket } from "../support/raw-request.ts";
import { startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

interface Held {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
}

/** `slow` responds when the test calls `answerAll`, and `other` at once. */
async function start(service: Partial<ServiceInput>, env: Record<string, string> = {}) {
  const held: Held[] = [];
  let mostSockets = 0;
  let isQuick = false;
  const upstream = await startUpstream((req, res) => {
    req.resume();
    mostSockets = Math.max(mostSockets, upstream.sockets.size);
    // The diagnostics probe requests /.
    if (isQuick || req.url === "/now" || req.url === "/") res.end("ok");
    else held.push({ req, res });
  });
  const other = await startUpstream();
  const gateway = await startGateway({
    env,
    services: { slow: { baseUrl: upstream.url, ...service }, other: { baseUrl: other.url } },
  });
  const ask = (path: string, init: RequestInit = {}) => fetch(`${gateway.url}/proxy/slow${path}`, init);
  return {
    held,
    upstream,
    other,
    gateway,
    ask,
    mostSockets: () => mostSockets,
    paths: () => upstream.requests.map(({ url }) => url),
    /** Responds to the held requests, and from now on at once. */
    answerAll: () => {
      isQuick = true;
      for (const { res } of held.splice(0)) res.end("late");
    },
  };
}

interface Pool {
  readonly open: number;
  readonly busy: number;
  readonly pending: number;
}

async function poolOf({ url }: TestGateway, key = "slow"): Promise<Pool> {
  const { services } = (await (await fetch(`${url}/status`)).json()) as {
    services: { key: string; connections: Pool }[];
  };
  return services.find((service) => service.key === key)?.connections as Pool;
}

const pending = (gateway: TestGateway, count: number) =>
  eventually(async () => (await poolOf(gateway)).pending === count, `${count} to wait`);

const codeOf = async (response: Response) =>
  (await response.json()) as { code: string; pressure: unknown; message: string };

describe("300 callers of a slow upstream", () => {
  test("At most maxConnections requests reach a slow upstream, and requests beyond maxPending are refused at once", async () => {
    const { gateway, upstream, ask, answerAll, mostSockets } = await start({ maxConnections: 20, maxPending: 50 });
    const responses: Response[] = [];
    const calls = Array.from({ length: 300 }, (_, i) => ask(`/${i}`).then((response) => responses.push(response)));
    await eventually(() => responses.length === 230, "230 refusals");
    expect(upstream.requests.length).toBe(20);
    expect(upstream.sockets.size).toBe(20);
    expect(await poolOf(gateway)).toEqual({
      open: 20,
      idle: 0,
      busy: 20,
      limit: 20,
      pending: 50,
      pendingLimit: 50,
    });

    for (const response of responses) {
      expect(response.status).toBe(503);
      expect(response.headers.get("retry-after")).toBe("10");
      expect(response.headers.get("x-proxy-error")).toBe("UNDER_PRESSURE");
    }
    expect(await codeOf(responses[0] as Response)).toMatchObject({
      message: "50 requests already waiting for a connection to slow; its maxPending is 50.",
      pressure: { gauge: "pending", value: 50, limit: 50 },
    });
    const other = await fetch(`${gateway.url}/proxy/other/`);
    expect([other.status, other.headers.get("x-proxy-queue-duration")]).toEqual([200, null]);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('byteproxy_upstream_connections_busy{service="slow"} 20\n');
    expect(metrics).toContain('byteproxy_upstream_requests_pending{service="slow"} 50\n');

    answerAll();
    await Promise.all(calls);
    const served = responses.filter(({ status }) => status === 200);
    expect(served.length).toBe(70);
    expect(served.filter(({ headers }) => headers.has("x-proxy-queue-duration")).length).toBe(50);
    expect(mostSockets()).toBe(20);
    expect(await poolOf(gateway)).toMatchObject({ busy: 0, pending: 0 });
  });

  test("Explain and the diagnostics report a full queue for connections", async () => {
    const { gateway, held, ask, answerAll } = await start({ maxConnections: 1, maxPending: 1 });
    const explain = async () => {
      const body = JSON.stringify({ method: "GET", path: "/proxy/slow/" });
      const headers = { "content-type": "application/json" };
      const response = await fetch(`${gateway.url}/manage/explain`, { method: "POST", headers, body });
      return (await response.json()) as { verdict: string; refusal: { message: string } | null };
    };
    const calls = [ask("/1")];
    await eventually(() => held.length === 1);
    expect((await explain()).verdict).toBe("forward");
    calls.push(ask("/2"));
    await pending(gateway, 1);
    expect((await explain()).refusal?.message).toBe(
      "1 request already waiting for a connection to slow; its maxPending is 1.",
    );
    const { checks } = (await (await fetch(`${gateway.url}/manage/diagnostics`)).json()) as {
      checks: { id: string; status: string; summary: string }[];
    };
    expect(checks.find(({ id }) => id === "pool:slow")).toMatchObject({
      status: "warn",
      summary: "the only connection to slow is busy, and 1 request waits for one",
    });
    answerAll();
    await Promise.all(calls);
  });
});

describe("Request that waits for a connection", () => {
  test("Waiting requests get free connections in the order of arrival", async () => {
    const { gateway, paths, held, ask, answerAll } = await start({ maxConnections: 1 });
    const calls = [ask("/0")];
    await eventually(() => held.length === 1);
    for (let i = 1; i <= 4; i++) {
      calls.push(ask(`/${i}`));
      await pending(gateway, i);
    }
    answerAll();
    for (const call of calls) expect((await call).status).toBe(200);
    expect(paths()).toEqual(["/0", "/1", "/2", "/3", "/4"]);
  });

  test("The wait for a connection does not count towards timeoutMs", async () => {
    const upstream = await startUpstream((_, res) => setTimeout(() => res.end("slow"), 250));
    const service = { baseUrl: upstream.url, maxConnections: 1, timeoutMs: 400, retries: 0 };
    const gateway = await startGateway({ services: { slow: service } });
    const ask = async () => (await fetch(`${gateway.url}/proxy/slow/`)).status;
    // The second request gets the connection after 250 ms, and would have 150 ms left.
    expect(await Promise.all([ask(), ask()])).toEqual([200, 200]);
  });

  test("A shutdown refuses the waiting requests at once, and waits only for those that were sent", async () => {
    const { gateway, ask, answerAll, paths } = await start({ maxConnections: 1 });
    const first = ask("/first");
    await eventually(() => paths().length === 1);
    const second = ask("/second");
    await pending(gateway, 1);
    const drained = gateway.drain(0, 500);
    const response = await second;
    expect([response.status, (await codeOf(response)).code]).toEqual([503, "SHUTTING_DOWN"]);
    answerAll();
    expect([(await first).status, await drained]).toEqual([200, 0]);
    expect(paths()).toEqual(["/first"]);
  });

  test("A request without a connection until its deadline is refused, with or without a body, and never reaches the upstream", async () => {
    const { gateway, held, paths, ask } = await start({ maxConnections: 1, timeoutMs: 300 });
    const upload = await openSocket(gateway.port);
    upload.write("POST /proxy/slow/held HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    await eventually(() => held.length === 1);
    const late = await Promise.all([ask("/get"), ask("/post", { method: "POST", body: "x".repeat(100_000) })]);
    for (const response of late) {
      expect([response.status, response.headers.get("retry-after")]).toEqual([503, "10"]);
      expect(response.headers.get("x-proxy-queue-duration")).toMatch(/^\d{3}ms$/);
      expect(await codeOf(response)).toMatchObject({
        message: "No connection to slow became free within 300 ms; its maxConnections is 1.",
        pressure: { gauge: "upstreamConnections", value: 1, limit: 1 },
      });
    }
    expect(paths()).toEqual(["/held"]);
    const lines = await eventually(() => gateway.exchanges().length === 2 && gateway.exchanges());
    for (const line of lines) expect(line).toMatchObject({ attempts: 0, outcome: "refused:UNDER_PRESSURE" });
  });

  test("A waiting request leaves the queue at once when its client leaves", async () => {
    const { gateway, held, paths, ask, answerAll } = await start({ maxConnections: 1, maxPending: 1 });
    const first = ask("/first");
    await eventually(() => held.length === 1);
    const leaving = new AbortController();
    const left = ask("/left", { signal: leaving.signal }).catch(() => "left");
    await pending(gateway, 1);
    expect((await ask("/refused")).status).toBe(503);
    leaving.abort();
    expect(await left).toBe("left");
    await pending(gateway, 0);
    const second = ask("/second");
    await pending(gateway, 1);
    answerAll();
    expect([(await first).status, (await second).status]).toEqual([200, 200]);
    expect(paths()).toEqual(["/first", "/second"]);
  });

  test("After a change of the service, waiting requests are served by the old definition and new requests by the new one", async () => {
    const { gateway, held, upstream, ask, answerAll } = await start({ maxConnections: 1 });
    const calls = [ask("/old")];
    await eventually(() => held.length === 1);
    calls.push(ask("/waits"));
    await pending(gateway, 1);
    const services = { slow: { baseUrl: upstream.url, maxConnections: 2 } };
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
    await gateway.reload();
    calls.push(ask("/new"));
    await eventually(() => held.length === 2);
    answerAll();
    for (const call of calls) expect((await call).status).toBe(200);
  });

  test("A waiting request gets a response when its service is removed", async () => {
    const { gateway, held, ask } = await start({ maxConnections: 1 }, { SHUTDOWN_TIMEOUT: "50" });
    const calls = [ask("/old")];
    await eventually(() => held.length === 1);
    calls.push(ask("/waits"));
    await pending(gateway, 1);
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: {} }));
    await gateway.reload();
    for (const call of calls) expect((await call).status).toBe(502);
  });
});

describe("Connection", () => {
  test("A connection attempt ends at once when its client leaves, and frees its slot", async () => {
    // It accepts connections, and never begins TLS.
    const mute = await startRawUpstream(() => {});
    const baseUrl = `https://127.0.0.1:${mute.port}`;
    const gateway = await startGateway({ services: { slow: { baseUrl, maxConnections: 1, maxPending: 0 } } });
    for (let i = 1; i <= 3; i++) {
      const leaving = new AbortController();
      const left = fetch(`${gateway.url}/proxy/slow/`, { signal: leaving.signal }).catch(() => "left");
      await eventually(() => mute.received.length === i && mute.sockets.size === 1);
      expect((await fetch(`${gateway.url}/proxy/slow/`)).status).toBe(503);
      leaving.abort();
      expect(await left).toBe("left");
      await eventually(() => mute.sockets.size === 0, "its end", 500);
      await eventually(async () => (await poolOf(gateway)).open === 0);
    }
  });

  test("A request holds no connection during its back-off", async () => {
    let isFirst = true;
    const upstream = await startUpstream((_, res) => {
      if (isFirst) res.writeHead(503, { "retry-after": "5" });
      isFirst = false;
      res.end();
    });
    const gateway = await startGateway({
      services: { slow: { baseUrl: upstream.url, maxConnections: 1, maxPending: 0 } },
    });
    const leaving = new AbortController();
    const pausing = fetch(`${gateway.url}/proxy/slow/`, { signal: leaving.signal }).catch(() => "left");
    await eventually(() => upstream.requests.length === 1);
    await eventually(async () => (await fetch(`${gateway.url}/proxy/slow/`)).status === 200);
    leaving.abort();
    await pausing;
  });

  test("An idle connection to another origin is closed, so that all connections of a service stay within the limit", async () => {
    const [one, two] = [await startUpstream(), await startUpstream()];
    const gateway = await startGateway({
      services: { slow: { baseUrl: one.url, versionedBaseUrls: { v2: two.url }, maxConnections: 1 } },
    });
    for (let i = 0; i < 3; i++) {
      expect((await fetch(`${gateway.url}/proxy/slow/x`)).status).toBe(200);
      expect((await fetch(`${gateway.url}/proxy/slow/v2/x`)).status).toBe(200);
      expect(await poolOf(gateway)).toMatchObject({ open: 1 });
    }
  });
});

describe("Slow upload", () => {
  test("A slow upload holds and counts as a connection, and requests to other services do not wait", async () => {
    const { gateway, held, ask, answerAll } = await start({ maxConnections: 1, maxPending: 0 });
    const upload = await openSocket(gateway.port);
    upload.write("POST /proxy/slow/up HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    await eventually(() => held.length === 1);
    expect((await ask("/now")).status).toBe(503);
    expect((await fetch(`${gateway.url}/proxy/other/`)).status).toBe(200);
    upload.write("0\r\n\r\n");
    answerAll();
    await eventually(() => upload.received.includes("late"));
    await eventually(async () => (await ask("/now")).status === 200);
  });

  test("A slow upload that is buffered first holds no connection", async () => {
    const { gateway, paths, ask } = await start({ maxConnections: 1, maxPending: 0 });
    const upload = await openSocket(gateway.port);
    upload.write("PUT /proxy/slow/now HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\na");
    await eventually(async () => (await ask("/now")).status === 200);
    expect(paths()).toEqual(["/now"]);
    upload.write("b");
    await eventually(() => upload.received.includes("200 OK"));
  });
});

test("A WebSocket does not count as a connection of the service", async () => {
  const echo = await startWebSocketEcho();
  const gateway = await startGateway({
    services: { slow: { baseUrl: echo.url, ws: true, maxConnections: 1, maxPending: 0 } },
  });
  const sockets = Array.from({ length: 2 }, () => new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/slow/`));
  await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("open", resolve))));
  expect((await fetch(`${gateway.url}/proxy/slow/`)).status).toBe(200);
  for (const socket of sockets) socket.terminate();
});

test("Every connection slot is released, however its request ends", async () => {
  const endings = ["answer", "cut", "reset", "status", "never", "early", "garbage"];
  const upstream = await startUpstream((req, res) => {
    req.on("error", () => {});
    const how = endings[Number(req.url?.slice(1)) % endings.length];
    if (how === "answer") req.resume().on("end", () => res.end("ok"));
    if (how === "early") res.writeHead(413).end();
    if (how === "status") res.writeHead(503).end();
    if (how === "garbage") req.socket.end("no HTTP\r\n\r\n");
    if (how === "reset") req.socket.resetAndDestroy();
    if (how === "cut") {
      res.writeHead(200, { "content-length": 10 }).write("half");
      setImmediate(() => req.socket.destroy());
    }
  });
  const gateway = await startGateway({
    services: { slow: { baseUrl: upstream.url, maxConnections: 5, maxPending: 20, timeoutMs: 200 } },
  });
  const call = async (i: number) => {
    const leaving = new AbortController();
    if (i % 5 === 0) setTimeout(() => leaving.abort(), i % 40);
    const body = i % 3 === 0 ? { method: i % 2 ? "PUT" : "POST", body: "x".repeat(i % 4 ? 10 : 200_000) } : {};
    const response = await fetch(`${gateway.url}/proxy/slow/${i}`, { signal: leaving.signal, ...body });
    await response.arrayBuffer();
  };
  await Promise.allSettled(Array.from({ length: 140 }, (_, i) => call(i)));
  await eventually(async () => {
    const { busy, pending: waiting, open } = await poolOf(gateway);
    return busy === 0 && waiting === 0 && open <= 5;
  }, "all slots to be free");
});
