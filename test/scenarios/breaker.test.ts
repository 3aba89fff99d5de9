/** The circuit breaker and the retry budget: an upstream that fails gets no requests until it works again, and few retries. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import type { BreakerState } from "../../src/data-plane/forward/breaker.ts";
import { eventually } from "../support/eventually.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { respondWith, startRawUpstream, startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

/** Longer than any test here takes, so that no trial starts by itself. */
const OPEN_MS = 60_000;
const BREAKER = { minRequests: 4, openMs: OPEN_MS };

type Services = Exclude<Parameters<typeof startGateway>[0], undefined>["services"];
type Handler = (req: IncomingMessage, res: ServerResponse) => void;

const failing: Handler = (_, res) => res.writeHead(503).end("broken");
const fine: Handler = (_, res) => res.end("ok");

/** Starts a gateway with a service `api` with the given upstream, and other services. */
async function start(service: object = {}, others: Services = {}) {
  const does = { handler: failing };
  const upstream = await startUpstream((req, res) => does.handler(req, res));
  const api = { baseUrl: upstream.url, retries: 0, breaker: BREAKER, ...service };
  const gateway = await startGateway({ services: { api, ...others } });
  const get = (path = "/", init: RequestInit = {}) => fetch(`${gateway.url}/proxy/api${path}`, init);
  const statuses = async (count: number) =>
    (await Promise.all(Array.from({ length: count }, () => get()))).map(({ status }) => status);
  return { does, upstream, gateway, get, statuses };
}

async function breakerOf({ url }: TestGateway, key = "api"): Promise<BreakerState | null> {
  const { services } = (await (await fetch(`${url}/status`)).json()) as {
    services: { key: string; breaker: BreakerState | null }[];
  };
  return services.find((service) => service.key === key)?.breaker ?? null;
}

const isHalfOpen = async (gateway: TestGateway) => (await breakerOf(gateway))?.state === "half-open";

describe("service with a failing upstream", () => {
  test("An open breaker refuses requests without a byte to the upstream and with an exact Retry-After; other services are not affected", async () => {
    const sound = await startUpstream();
    const { upstream, gateway, get } = await start({}, { other: { baseUrl: sound.url } });
    for (let i = 0; i < 4; i++) expect((await get()).status).toBe(503);
    const response = await get("/path?x=1");
    expect(response.status).toBe(503);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "x-proxy-error": "CIRCUIT_OPEN",
      "x-proxy-service": "api",
      "proxy-status": "byteproxy; error=destination_unavailable",
    });
    expect(response.headers.get("retry-after")).toMatch(/^(5\d|60)$/);
    expect(await response.json()).toMatchObject({
      error: "Circuit open",
      code: "CIRCUIT_OPEN",
      status: 503,
      service: "api",
      path: "/path",
      message: `4 of 4 attempts at api failed; the next attempt is possible in ${response.headers.get("retry-after")} seconds.`,
    });
    expect((await get("/", { method: "POST", body: "x" })).status).toBe(503);
    expect(upstream.requests).toHaveLength(4);
    expect((await fetch(`${gateway.url}/proxy/other/`)).status).toBe(200);
    expect(gateway.exchanges()[4]).toMatchObject({ outcome: "refused:CIRCUIT_OPEN", attempts: 0 });
  });

  test("A half-open breaker sends one of fifty requests and refuses the others at once; after a success all are sent", async () => {
    const { does, upstream, gateway, get, statuses } = await start({ breaker: { minRequests: 4, openMs: 30 } });
    await statuses(4);
    const held: ServerResponse[] = [];
    does.handler = (_, res) => void held.push(res);
    await eventually(() => isHalfOpen(gateway));
    const responses = Array.from({ length: 50 }, () => get());
    let refused = 0;
    for (const response of responses) {
      void response.then(({ headers }) => {
        if (headers.get("x-proxy-error") === "CIRCUIT_OPEN" && headers.get("retry-after") === "1") refused += 1;
      });
    }
    await eventually(() => refused === 49);
    expect(upstream.requests).toHaveLength(5);
    expect(await (await get()).json()).toMatchObject({
      message: "4 of 4 attempts at api failed; one attempt is probing it.",
    });
    does.handler = fine;
    held[0]?.end("ok");
    expect((await Promise.all(responses)).filter(({ status }) => status === 200)).toHaveLength(1);
    expect(await statuses(20)).toEqual(new Array(20).fill(200));
    expect(await breakerOf(gateway)).toEqual({ state: "closed", failures: 0, requests: 20, retryAfter: null });
    const changes = gateway.lines().filter(({ msg }) => String(msg).startsWith("the breaker is"));
    expect(changes).toMatchObject(
      [
        { level: 40, service: "api", failures: 4, requests: 4, openMs: 30, msg: /^the breaker is open/ },
        { level: 30, service: "api", msg: /^the breaker is half-open/ },
        { level: 30, service: "api", msg: /^the breaker is closed/ },
      ].map((line) => ({ ...line, msg: expect.stringMatching(line.msg) })),
    );
  });

  test("A failed trial opens the breaker again", async () => {
    const { upstream, gateway, get, statuses } = await start({ breaker: { minRequests: 4, openMs: 30 } });
    await statuses(4);
    await eventually(() => isHalfOpen(gateway));
    expect((await get()).status).toBe(503);
    expect(upstream.requests).toHaveLength(5);
    const opened = () => gateway.lines().filter(({ msg }) => String(msg).startsWith("the breaker is open"));
    expect(opened()).toMatchObject([{ failures: 4 }, { failures: 5, requests: 5 }]);
  });

  test("The breaker closes at the headers of the trial's response, before its body ends", async () => {
    const { does, gateway, get, statuses } = await start({ breaker: { minRequests: 4, openMs: 30 } });
    await statuses(4);
    does.handler = (_, res) => res.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
    await eventually(() => isHalfOpen(gateway));
    const streams = [await get(), await get()];
    expect(streams.map(({ status }) => status)).toEqual([200, 200]);
    for (const { body } of streams) await body?.cancel();
  });

  test("The next request becomes the trial when the client of the first trial leaves", async () => {
    const { does, upstream, gateway, get, statuses } = await start({ breaker: { minRequests: 4, openMs: 30 } });
    await statuses(4);
    does.handler = () => {};
    await eventually(() => isHalfOpen(gateway));
    const leaver = await openSocket(gateway.port);
    leaver.write("GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    await eventually(() => upstream.requests.length === 5);
    expect((await get()).status).toBe(503);
    does.handler = fine;
    leaver.destroy();
    await eventually(async () => (await get()).status === 200);
    expect(await breakerOf(gateway)).toMatchObject({ state: "closed" });
  });

  test("The next request becomes the trial when the first trial ends at its deadline", async () => {
    const { does, gateway, get, statuses } = await start({ timeoutMs: 60, breaker: { minRequests: 4, openMs: 30 } });
    await statuses(4);
    does.handler = () => {};
    await eventually(() => isHalfOpen(gateway));
    expect((await get()).status).toBe(504);
    does.handler = fine;
    await eventually(async () => (await get()).status === 200);
  });

  test("With breaker: false a failing upstream is never refused", async () => {
    const { upstream, gateway, statuses } = await start({ breaker: false });
    expect(await statuses(40)).toEqual(new Array(40).fill(503));
    expect(upstream.requests).toHaveLength(40);
    expect(await breakerOf(gateway)).toBeNull();
    expect(await (await fetch(`${gateway.url}/metrics`)).text()).not.toContain('breaker_state{service="api"}');
  });

  test.each([3_600_000, -3_600_000])(
    "A step of the clock of %i ms neither prolongs nor ends the open state",
    async (stepMs) => {
      const { does, upstream, gateway, get, statuses } = await start();
      const quick = { baseUrl: upstream.url, retries: 0, breaker: { minRequests: 1, openMs: 30 } };
      const { gateway: other } = await start({ ...quick });
      vi.useFakeTimers({ toFake: ["Date"] });
      onTestFinished(() => void vi.useRealTimers());
      const step = () => vi.setSystemTime(Date.now() + stepMs);
      await statuses(3);
      step();
      await statuses(1);
      expect((await fetch(`${other.url}/proxy/api/`)).status).toBe(503);
      step();
      does.handler = fine;
      expect((await get()).headers.get("x-proxy-error")).toBe("CIRCUIT_OPEN");
      expect(await breakerOf(gateway)).toMatchObject({ state: "open", failures: 4 });
      await eventually(async () => (await fetch(`${other.url}/proxy/api/`)).status === 200);
    },
  );
});

describe("outcome of an attempt", () => {
  interface Case {
    readonly what: string;
    readonly request?: "GET" | "POST too much" | "POST too little";
    readonly upstream?: Parameters<typeof startRawUpstream>[0];
    readonly isTls?: boolean;
    readonly service?: object;
    readonly counts: { readonly failures: number; readonly requests: number };
  }
  const failure = { failures: 1, requests: 1 };
  const success = { failures: 0, requests: 1 };
  const nothing = { failures: 0, requests: 0 };
  const empty = (status: number) => respondWith(`HTTP/1.1 ${status} No\r\nContent-Length: 0\r\n\r\n`);
  const CASES: readonly Case[] = [
    { what: "A 502", upstream: empty(502), counts: failure },
    { what: "A 503", upstream: empty(503), counts: failure },
    { what: "A 504", upstream: empty(504), counts: failure },
    { what: "A 500", upstream: empty(500), counts: success },
    { what: "A 501", upstream: empty(501), counts: success },
    { what: "A 507", upstream: empty(507), counts: success },
    { what: "A 599", upstream: empty(599), counts: success },
    {
      what: "A 503 and its retry",
      upstream: empty(503),
      service: { retries: 1 },
      counts: { failures: 2, requests: 2 },
    },
    { what: "A connection that ends before the response", upstream: respondWith("", "end"), counts: failure },
    { what: "A response that is not HTTP", upstream: respondWith("nonsense\r\n\r\n", "end"), counts: failure },
    { what: "No response in time", service: { timeoutMs: 40 }, counts: failure },
    { what: "A failed TLS handshake", upstream: (socket) => socket.destroy(), isTls: true, counts: failure },
    { what: "No TLS handshake in time", isTls: true, service: { connectTimeoutMs: 40 }, counts: failure },
    { what: "A 404", upstream: empty(404), counts: success },
    { what: "A 401", upstream: empty(401), counts: success },
    { what: "A 429", upstream: empty(429), counts: success },
    {
      what: "A cut inside the body",
      upstream: respondWith("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", "end"),
      counts: success,
    },
    {
      what: "Silence inside the body",
      upstream: respondWith("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"),
      service: { idleTimeoutMs: 40 },
      counts: success,
    },
    { what: "A body over maxBodyBytes", request: "POST too much", service: { maxBodyBytes: 3 }, counts: nothing },
    {
      what: "A client that stops sending",
      request: "POST too little",
      service: { timeoutMs: 40, idleTimeoutMs: 40 },
      counts: nothing,
    },
    { what: "An address that is not dialed", service: { baseUrl: "http://169.254.169.254/" }, counts: nothing },
    {
      what: "A missing credential",
      service: { auth: { type: "bearer", tokenEnvVar: "NOT_SET" } },
      counts: nothing,
    },
  ];

  test.each(CASES)("$what counts as $counts.failures failures of $counts.requests attempts", async (each) => {
    const { request = "GET", upstream: does = () => {}, isTls = false, service, counts } = each;
    const upstream = await startRawUpstream(does);
    const baseUrl = isTls ? upstream.url.replace("http:", "https:") : upstream.url;
    const { gateway } = await start({ baseUrl, ...service });
    const rest = {
      GET: "\r\n",
      "POST too much": "Transfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n0\r\n\r\n",
      "POST too little": "Content-Length: 4\r\n\r\nab",
    }[request];
    const head = `${request.slice(0, 4).trim()} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n`;
    await rawRequest(gateway.port, head + rest);
    await eventually(() => gateway.exchanges().length === 1);
    expect(await breakerOf(gateway)).toMatchObject({ state: "closed", ...counts });
  });

  test("A client that leaves counts neither as a success nor as a failure, before the response and during its upload", async () => {
    const { does, upstream, gateway } = await start();
    does.handler = () => {};
    for (let i = 0; i < 8; i++) {
      const client = await openSocket(gateway.port);
      const head = `${i % 2 === 0 ? "GET" : "POST"} /proxy/api/ HTTP/1.1\r\nHost: localhost\r\n`;
      client.write(i % 2 === 0 ? `${head}\r\n` : `${head}Content-Length: 9\r\n\r\nab`);
      await eventually(() => upstream.requests.length === i + 1);
      client.resetAndDestroy();
    }
    await eventually(() => gateway.exchanges().length === 8);
    expect(await breakerOf(gateway)).toMatchObject({ state: "closed", failures: 0, requests: 0 });
  });
});

describe("open breaker", () => {
  test("The breaker is checked before the rate limit and before the quota", async () => {
    const services = { rateLimit: { maxRequests: 5, windowMs: 60_000 }, quota: { mode: "hold", maxWaitMs: 5_000 } };
    const { does, gateway, get } = await start({ ...services, breaker: { minRequests: 1, openMs: OPEN_MS } });
    const usedUp = { "x-ratelimit-limit": "5", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "3" };
    does.handler = (_, res) => res.writeHead(503, usedUp).end();
    await get();
    for (let i = 0; i < 9; i++) {
      const { headers } = await get();
      expect([headers.get("x-proxy-error"), headers.get("x-proxy-queue-duration")]).toEqual(["CIRCUIT_OPEN", null]);
    }
    const limit = await (await fetch(`${gateway.url}/proxy/services/api/rate-limit`)).json();
    expect(limit).toMatchObject({ remaining: 4 });
  });

  test("A breaker that opens ends the retries, and the client gets the last response unchanged", async () => {
    const { does, upstream, get } = await start({ retries: 5, breaker: { minRequests: 2, openMs: OPEN_MS } });
    does.handler = (_, res) => res.writeHead(503, { "retry-after-ms": "1", "x-reason": "tired" }).end("not now");
    const response = await get();
    expect([response.status, response.headers.get("x-reason"), await response.text()]).toEqual([
      503,
      "tired",
      "not now",
    ]);
    expect(response.headers.get("x-proxy-error")).toBeNull();
    expect(upstream.requests).toHaveLength(2);
  });

  test("A breaker that opens in the pause before a retry ends the exchange", async () => {
    const { does, upstream, gateway, get } = await start({ retries: 5, breaker: { minRequests: 2, openMs: OPEN_MS } });
    const held: ServerResponse[] = [];
    does.handler = (_, res) => {
      // The attempt is judged at its headers; the pause begins at its end.
      res.writeHead(503, { "retry-after-ms": "1" }).write("not now");
      held.push(res);
    };
    const pausing = get();
    await eventually(async () => (await breakerOf(gateway))?.failures === 1);
    expect((await get("/", { method: "POST" })).status).toBe(503);
    held[0]?.end();
    expect((await pausing).headers.get("x-proxy-error")).toBe("CIRCUIT_OPEN");
    expect(upstream.requests).toHaveLength(2);
  });

  test("An open breaker refuses WebSockets too, and failed handshakes count as failures", async () => {
    const echo = await startWebSocketEcho();
    const { does, gateway, get } = await start({ ws: true }, { chat: { baseUrl: echo.url, ws: true } });
    const connect = (key: string) => {
      const socket = new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/${key}/`);
      onTestFinished(() => socket.terminate());
      socket.on("error", () => {});
      return socket;
    };
    const refusalOf = async (key: string) => (await once(connect(key), "unexpected-response"))[1] as IncomingMessage;
    does.handler = (_, res) => res.writeHead(403).end();
    expect((await refusalOf("api")).statusCode).toBe(403);
    does.handler = failing;
    for (let i = 0; i < 3; i++) expect((await refusalOf("api")).statusCode).toBe(503);
    const refused = await refusalOf("api");
    expect([refused.statusCode, refused.headers["x-proxy-error"]]).toEqual([503, "CIRCUIT_OPEN"]);
    expect((await get()).status).toBe(503);
    expect(await breakerOf(gateway)).toMatchObject({ state: "open", failures: 3, requests: 4 });
    await once(connect("chat"), "open");
    expect(await breakerOf(gateway, "chat")).toMatchObject({ failures: 0, requests: 1 });
  });

  test("Status, metrics, diagnostics and explain show the breaker's state and do not change it", async () => {
    const { gateway, statuses, upstream } = await start(
      {},
      { off: { baseUrl: "http://127.0.0.1:9/", breaker: false } },
    );
    await statuses(4);
    const state = { state: "open", failures: 4, requests: 4, retryAfter: expect.any(Number) };
    expect(await breakerOf(gateway)).toEqual(state);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('byteproxy_breaker_state{service="api"} 2\n');
    expect(metrics).toContain('byteproxy_breaker_state{service="echo"} 0\n');
    const question = { method: "GET", path: "/proxy/api/x" };
    const { body: explained } = await manage(gateway, "POST", "/explain", question);
    expect(explained).toMatchObject({ verdict: "refuse", refusal: { code: "CIRCUIT_OPEN" }, breaker: state });
    const off = await manage(gateway, "POST", "/explain", { ...question, path: "/proxy/off/x" });
    expect(off.body).toMatchObject({ verdict: "forward", breaker: null });
    const { checks } = (await manage(gateway, "GET", "/diagnostics")).body as { checks: { id: string }[] };
    expect(checks.find(({ id }) => id === "reach:api")).toMatchObject({
      status: "warn",
      summary: "the upstream responds with 503; the breaker is open",
      evidence: { breaker: state },
      fix: expect.stringContaining("evidence.breaker"),
    });
    // The check sends its own probe to the upstream.
    expect(upstream.requests).toHaveLength(5);
    expect(await breakerOf(gateway)).toMatchObject({ state: "open", failures: 4 });
  });

  test("The breaker survives a reload, unless the base URL or the breaker's settings changed", async () => {
    const { gateway, statuses, upstream, does } = await start();
    await statuses(4);
    does.handler = fine;
    const reload = async (service: object) => {
      const api = { baseUrl: upstream.url, retries: 0, breaker: BREAKER, ...service };
      writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: { api } }));
      expect(await gateway.reload()).toMatchObject({ isDone: true, changed: ["api"] });
      return (await statuses(1))[0];
    };
    expect(await reload({ timeoutMs: 1_234 })).toBe(503);
    expect(await reload({ breaker: { ...BREAKER, openMs: 50_000 } })).toBe(200);
    does.handler = failing;
    await statuses(7);
    expect(await reload({ breaker: { ...BREAKER, openMs: 50_000 }, retries: 1 })).toBe(503);
    does.handler = fine;
    expect(await reload({ breaker: { ...BREAKER, openMs: 50_000 }, baseUrl: `${upstream.url}/v2` })).toBe(200);
  });
});

test("Retries add at most half the number of requests, plus ten, to the load on a failing upstream", async () => {
  const { does, upstream, gateway, get } = await start({ retries: 2, breaker: false });
  does.handler = (_, res) => res.writeHead(503, { "retry-after-ms": "1" }).end();
  expect((await get()).status).toBe(503);
  expect(upstream.requests).toHaveLength(3);
  const all = await Promise.all(Array.from({ length: 199 }, () => get()));
  expect(all.filter(({ status, headers }) => status !== 503 || headers.has("x-proxy-error"))).toEqual([]);
  expect(upstream.requests.length).toBeGreaterThan(205);
  expect(upstream.requests.length).toBeLessThanOrEqual(1.5 * 200 + 10);
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  const count = (name: string) =>
    Number(new RegExp(`^byteproxy_${name}\\{service="api"\\} (\\d+)$`, "m").exec(metrics)?.[1]);
  expect(count("retries_total")).toBe(upstream.requests.length - 200);
  expect(count("retries_withheld_total")).toBeGreaterThan(50);
  does.handler = fine;
  expect((await get()).status).toBe(200);
});
