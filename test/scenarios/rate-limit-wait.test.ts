/** Rate limits that let requests wait (`onLimit: wait`), over real sockets. A reset of the limit is the next window. */
import { writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { constants } from "node:http2";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSession, responseOf, send } from "../support/http2-client.ts";
import { manage } from "../support/manage.ts";
import { startTlsGateway } from "../support/tls-gateway.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

type RateLimit = NonNullable<ServiceInput["rateLimit"]>;

/** A window that ends only by a reset. */
const LONG: RateLimit = { maxRequests: 1, windowMs: 60_000, onLimit: "wait", maxWaitMs: 3_600_000 };

interface Setup extends Pick<Partial<ServiceInput>, "maxConcurrent" | "timeoutMs" | "quota" | "ws" | "baseUrl"> {
  readonly rateLimit?: RateLimit;
  readonly handler?: Parameters<typeof startUpstream>[0];
  readonly env?: Record<string, string>;
}

async function start({ handler, rateLimit = LONG, env = { PROXY_API_KEY: PROXY_KEY }, ...service }: Setup = {}) {
  const upstream = await startUpstream(handler);
  const gateway = await startGateway({
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", ...env },
    services: { api: { baseUrl: upstream.url, rateLimit, ...service } },
  });
  const ask = (path = "", headers: Record<string, string> = {}, init: RequestInit = {}) =>
    fetch(`${gateway.url}/proxy/api/${path}`, { ...init, headers: { "x-api-key": PROXY_KEY, ...headers } });
  const status = async () =>
    (await manage(gateway, "GET", "/../status")).body.services.find(({ key }: { key: string }) => key === "api");
  return {
    upstream,
    gateway,
    ask,
    status,
    paths: () => upstream.requests.map(({ url }) => url?.slice(1)),
    reset: () => manage(gateway, "POST", "/services/api/rate-limit/reset"),
    /** Resolves when this many requests wait. */
    waiting: (count: number) =>
      eventually(async () => (await status()).rateLimit.waiting === count, `${count} to wait`, 10_000),
    issueKey: async (): Promise<{ id: string; key: string }> =>
      (await manage(gateway, "POST", "/keys", { name: "caller", permissions: ["api:*"] })).body,
  };
}

const queueMs = (response: Response) => Number.parseInt(response.headers.get("x-proxy-queue-duration") ?? "0", 10);

describe("A rate limit that lets requests wait", () => {
  test("A request waits for the next window, and its deadline does not count the wait", async () => {
    const rateLimit: RateLimit = { maxRequests: 2, windowMs: 1_000, onLimit: "wait" };
    const { gateway, ask, upstream } = await start({ rateLimit, timeoutMs: 700 });
    const responses = await Promise.all(Array.from({ length: 4 }, () => ask()));
    expect(responses.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const waited = responses.filter((response) => queueMs(response) > 0);
    expect(waited).toHaveLength(2);
    for (const response of waited) {
      expect(queueMs(response)).toBeGreaterThan(700);
      expect(response.headers.get("ratelimit")).toMatch(/^"service";r=[01];t=1$/);
      expect(response.headers.get("ratelimit-policy")).toBe('"service";q=2;w=1');
    }
    expect(upstream.requests).toHaveLength(4);
    const lines = gateway.exchanges().filter(({ queuedUs }) => (queuedUs as number) > 0);
    expect(lines.map(({ outcome, upstreamUs }) => [outcome, (upstreamUs as number) < 700_000])).toEqual(
      Array(2).fill(["relayed", true]),
    );
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('byteproxy_rate_limit_wait_seconds_count{service="api"} 2');
    expect(metrics).toContain('byteproxy_rate_limit_waiting{service="api"} 0');
  });

  test("Hundreds of waiting requests of two callers are sent in exact portions, alternating and in order", async () => {
    const { ask, paths, reset, waiting, issueKey } = await start({ rateLimit: { ...LONG, maxRequests: 20 } });
    const { key } = await issueKey();
    await Promise.all(Array.from({ length: 20 }, () => ask("first")));
    const asked: Promise<Response>[] = [];
    for (let i = 0; i < 160; i++) asked.push(ask(`a${i}`));
    await waiting(160);
    for (let i = 0; i < 40; i++) asked.push(ask(`b${i}`, { "x-api-key": key }));
    await waiting(200);
    for (let window = 1; window <= 10; window++) {
      await reset();
      await eventually(() => paths().length >= 20 * (window + 1), "the window to be used", 10_000);
      expect(paths()).toHaveLength(20 * (window + 1));
      if (window <= 4) {
        const fromB = paths()
          .slice(-20)
          .filter((path) => path?.startsWith("b"));
        expect(fromB).toHaveLength(10);
      }
    }
    const statuses = await Promise.all(asked.map(async (response) => (await response).status));
    expect(new Set(statuses)).toEqual(new Set([200]));
  });

  test("The requests of one caller are sent in the order in which they came", async () => {
    const { ask, paths, reset, waiting } = await start();
    await ask("first");
    const asked: Promise<Response>[] = [];
    for (let i = 0; i < 5; i++) {
      asked.push(ask(String(i)));
      await waiting(i + 1);
    }
    for (let i = 0; i < 5; i++) {
      await reset();
      await asked[i];
    }
    expect(paths()).toEqual(["first", "0", "1", "2", "3", "4"]);
  });

  test("A request that may not wait that long is refused at once, with the exact time of its turn", async () => {
    const rateLimit: RateLimit = { maxRequests: 1, windowMs: 60_000, onLimit: "wait", maxQueue: 2 };
    const { ask, upstream, waiting } = await start({ rateLimit });
    await ask();
    const refused = await ask();
    expect(refused.status).toBe(429);
    expect(["59", "60"]).toContain(refused.headers.get("retry-after"));
    void ask("", { prefer: "wait=100" }).catch(() => {});
    await waiting(1);
    const second = await ask("", { prefer: "wait=60" });
    const seconds = Number(second.headers.get("retry-after"));
    expect(seconds).toBeGreaterThan(115);
    expect(seconds).toBeLessThanOrEqual(121);
    expect(second.headers.get("ratelimit")).toBe(`"service";r=0;t=${seconds}`);
    expect(second.headers.get("x-ratelimit-remaining")).toBe("0");
    expect(second.headers.get("x-proxy-queue-duration")).toBeNull();
    expect(await second.json()).toMatchObject({
      code: "RATE_LIMIT_EXCEEDED",
      message: `Rate limit exceeded for api, and this request may not wait that long. It allows this request in ${seconds} seconds.`,
      rateLimit: { reason: "too long", retryAfter: seconds },
    });
    void ask("", { prefer: "wait=3600" }).catch(() => {});
    await waiting(2);
    expect(await (await ask("", { prefer: "wait=3600" })).json()).toMatchObject({
      rateLimit: { reason: "queue full" },
    });
    expect(upstream.requests).toHaveLength(1);
  });

  test("A waiting request holds no slot, and its place is free as soon as its client leaves", async () => {
    const { gateway, ask, reset, waiting, status } = await start({ maxConcurrent: 1 });
    await ask();
    const abort = new AbortController();
    const leaving = ask("leaving", {}, { signal: abort.signal }).catch(() => "left");
    await waiting(1);
    const staying = ask("staying");
    await waiting(2);
    expect((await status()).inFlight).toEqual({ current: 0, limit: 1 });
    abort.abort();
    await leaving;
    await waiting(1);
    await reset();
    expect((await staying).status).toBe(200);
    const left = gateway.exchanges().find(({ path }) => path === "/proxy/api/leaving");
    expect(left).toMatchObject({ status: 499, outcome: "client-left", attempts: 0 });
    await eventually(async () => (await status()).inFlight.current === 0, "the slot to be released");
  });

  test("The body of a waiting request stays with its client, and then arrives whole", async () => {
    let received = 0;
    const { gateway, ask, reset, waiting } = await start({
      handler: (req, res) => {
        req.on("data", (chunk: Buffer) => {
          received += chunk.length;
        });
        req.on("end", () => res.end("ok"));
      },
    });
    await ask();
    const size = 32 * 1_048_576;
    let sent = 0;
    const upload = httpRequest(`${gateway.url}/proxy/api/`, {
      method: "POST",
      headers: { "x-api-key": PROXY_KEY, "content-length": size },
    });
    const response = new Promise<number | undefined>((resolve, reject) => {
      upload.on("response", (res) => resolve(res.resume().statusCode));
      upload.on("error", reject);
    });
    const chunk = Buffer.alloc(65_536, "x");
    const write = () => {
      while (sent < size) {
        sent += chunk.length;
        if (!upload.write(chunk)) return void upload.once("drain", write);
      }
      upload.end();
    };
    write();
    await waiting(1);
    await eventually(() => upload.writableNeedDrain, "the upload to stop");
    expect(sent).toBeLessThan(size / 2);
    await reset();
    expect(await response).toBe(200);
    expect(received).toBe(size);
  });

  test("A key that is revoked while its request waits is refused, and spends no point", async () => {
    const { gateway, ask, paths, reset, waiting, issueKey } = await start();
    const { id, key } = await issueKey();
    await ask("first");
    const revoked = ask("revoked", { "x-api-key": key });
    await waiting(1);
    const other = ask("other");
    await waiting(2);
    await manage(gateway, "DELETE", `/keys/${id}`);
    await reset();
    expect((await revoked).headers.get("x-proxy-error")).toBe("INVALID_API_KEY");
    expect((await other).status).toBe(200);
    expect(paths()).toEqual(["first", "other"]);
  });

  test("A changed limit takes over the waiting requests", async () => {
    const { gateway, ask, waiting, upstream } = await start();
    const define = (rateLimit: RateLimit) => {
      const services = { api: { baseUrl: upstream.url, rateLimit } };
      writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services }));
    };
    await ask();
    const asked = [ask(), ask(), ask()];
    await waiting(3);
    define({ ...LONG, maxRequests: 2 });
    expect((await gateway.reload()).isDone).toBe(true);
    await waiting(1);
    expect((await Promise.race(asked)).status).toBe(200);
    define({ ...LONG, maxRequests: 3 });
    await gateway.reload();
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  test("Requests that wait for a removed service are refused at once", async () => {
    const { gateway, ask, waiting } = await start();
    await ask();
    const held = [ask(), ask()];
    await waiting(2);
    writeFileSync(join(gateway.directory, "services.json"), JSON.stringify({ services: {} }));
    await gateway.reload();
    const codes = (await Promise.all(held)).map(({ headers }) => headers.get("x-proxy-error"));
    expect(codes).toEqual(["SERVICE_NOT_CONFIGURED", "SERVICE_NOT_CONFIGURED"]);
  });

  test("A request that waits while a reload replaces its key is refused", async () => {
    const { gateway, ask, reset, waiting, upstream } = await start({ env: {} });
    const serve = async (key: string) => {
      writeFileSync(join(gateway.directory, ".env"), `PROXY_API_KEY=${key}`);
      expect((await gateway.reload()).isDone).toBe(true);
    };
    await serve("the-old-key-0123456789");
    await ask("", { "x-api-key": "the-old-key-0123456789" });
    const held = ask("", { "x-api-key": "the-old-key-0123456789" });
    await waiting(1);
    await serve("the-fresh-key-0123456789");
    await reset();
    expect((await held).headers.get("x-proxy-error")).toBe("INVALID_API_KEY");
    expect(upstream.requests).toHaveLength(1);
  });

  test("At a shutdown requests that cannot be sent in time are refused at once", async () => {
    const { gateway, ask, waiting } = await start();
    await ask();
    const held = [ask(), ask()];
    await waiting(2);
    const cut = gateway.drain(0, 5_000);
    const responses = await Promise.all(held);
    expect(responses.map(({ headers }) => headers.get("x-proxy-error"))).toEqual(["SHUTTING_DOWN", "SHUTTING_DOWN"]);
    expect(await cut).toBe(0);
  });

  test("A WebSocket handshake waits like a request, and leaves the queue when its client leaves", async () => {
    const echo = await startWebSocketEcho();
    const { gateway, ask, waiting, reset } = await start({ baseUrl: echo.url, ws: true });
    await ask();
    const open = () =>
      new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/api/`, { headers: { "x-api-key": PROXY_KEY } });
    const leaving = open().on("error", () => {});
    await waiting(1);
    leaving.terminate();
    await waiting(0);
    const staying = open();
    await waiting(1);
    await reset();
    const reply = new Promise((resolve) => staying.on("message", (message) => resolve(String(message))));
    staying.on("open", () => staying.send("hello"));
    expect(await reply).toBe("hello");
    staying.terminate();
    expect(echo.requests).toHaveLength(1);
  });

  test("A stream of HTTP/2 waits like a request, and its place is free as soon as it is canceled", async () => {
    const upstream = await startUpstream();
    const { gateway } = await startTlsGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, PROXY_API_KEY: PROXY_KEY },
      services: { api: { baseUrl: upstream.url, rateLimit: LONG } },
    });
    const session = await openSession(gateway.url);
    const request = (path: string) => session.request({ ":path": `/proxy/api/${path}`, "x-api-key": PROXY_KEY });
    const operate = async (headers: Record<string, string>) =>
      (await send(session, { "x-api-key": MANAGEMENT_KEY, ...headers })).body.toString();
    const waiting = (count: number) =>
      eventually(async () => {
        const { services } = JSON.parse(await operate({ ":path": "/status" }));
        return services.find(({ key }: { key: string }) => key === "api").rateLimit.waiting === count;
      }, `${count} to wait`);
    expect((await responseOf(request(""))).status).toBe(200);
    const canceled = request("canceled");
    canceled.on("error", () => {});
    await waiting(1);
    canceled.close(constants.NGHTTP2_CANCEL);
    await waiting(0);
    const staying = responseOf(request("staying"));
    await waiting(1);
    await operate({ ":method": "POST", ":path": "/manage/services/api/rate-limit/reset" });
    expect((await staying).status).toBe(200);
    expect(upstream.requests.map(({ url }) => url)).toEqual(["/", "/staying"]);
  });

  test("A request waits for the limit and then for the quota, and the response gives the sum", async () => {
    const { gateway, ask, waiting, reset } = await start({
      quota: { mode: "hold" },
      handler: (_, res) =>
        res
          .writeHead(200, { "x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "0.3" })
          .end(),
    });
    await ask();
    const since = performance.now();
    const both = ask();
    await waiting(1);
    await reset();
    const limitMs = performance.now() - since;
    const response = await both;
    expect(response.status).toBe(200);
    expect(queueMs(response)).toBeGreaterThan(200);
    expect(queueMs(response)).toBeLessThan(limitMs + 2_000);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    for (const name of ["rate_limit", "quota"])
      expect(metrics).toContain(`byteproxy_${name}_wait_seconds_count{service="api"} 1`);
  });

  test("An explanation gives the wait and the position, and spends nothing", async () => {
    const { gateway, ask, waiting, status } = await start({ rateLimit: { ...LONG, maxQueue: 2 } });
    const explain = async () =>
      (await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/", caller: "proxy-key" })).body;
    expect((await explain()).rateLimit).toMatchObject({ remaining: 1, waitMs: 0, position: 0 });
    await ask();
    void ask().catch(() => {});
    await waiting(1);
    const { verdict, rateLimit } = await explain();
    expect(verdict).toBe("forward");
    expect(rateLimit).toMatchObject({ remaining: 0, position: 2 });
    expect(rateLimit.waitMs).toBeGreaterThan(100_000);
    expect(rateLimit.waitMs).toBeLessThanOrEqual(121_000);
    void ask().catch(() => {});
    await waiting(2);
    const full = await explain();
    expect([full.verdict, full.refusal.code]).toEqual(["refuse", "RATE_LIMIT_EXCEEDED"]);
    expect((await status()).rateLimit).toMatchObject({ onLimit: "wait", maxQueue: 2, waiting: 2, remaining: 0 });
  });
});
