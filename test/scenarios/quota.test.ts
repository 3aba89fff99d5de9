/** The upstream's quota over real sockets: requests are held instead of refused, and refusals give the exact time. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { isStoredService } from "../../src/services/stored-services.ts";
import { openFileStores } from "../../src/stores/open-stores.ts";
import { tempFolder } from "../config/temp-folder.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { QUOTA_STYLES, type QuotaUpstreamOptions, startQuotaUpstream } from "../support/quota-upstream.ts";
import { startUpstream } from "../support/upstream.ts";
import { startWebSocketEcho } from "../support/websocket-echo.ts";

interface Quota {
  readonly mode?: "off" | "observe" | "hold";
  readonly maxWaitMs?: number;
  readonly maxQueue?: number;
}

async function start(quota: Quota, options: QuotaUpstreamOptions = {}, service = {}) {
  const upstream = await startQuotaUpstream(options);
  const gateway = await startGateway({
    env: {
      MANAGEMENT_API_KEY: MANAGEMENT_KEY,
      EGRESS_ALLOW_PRIVATE: "true",
      // A slow machine must not shed the requests of these tests.
      PRESSURE_MAX_EVENT_LOOP_DELAY: "0",
    },
    services: { api: { baseUrl: upstream.url, quota, ...service } },
  });
  const ask = (path = "", init: RequestInit = {}) => fetch(`${gateway.url}/proxy/api/${path}`, init);
  /** Resolves when this many requests are held. */
  const waiting = (count: number) =>
    eventually(async () => (await quotasOf(gateway))[0]?.credentials[0]?.waiting === count, `${count} to wait`);
  return { upstream, gateway, ask, waiting, quotas: () => quotasOf(gateway) };
}

interface ShownQuota {
  readonly service: string;
  readonly mode: string;
  readonly upstreamRefusals: { readonly count: number } | null;
  readonly credentials: readonly {
    readonly source: string | null;
    readonly fingerprint: string | null;
    readonly waiting: number;
    readonly inFlight: number;
    readonly buckets: readonly {
      readonly bucket: string;
      readonly closedUntil: string | null;
      readonly waiting: number;
      readonly windows: readonly { readonly limit: number | null; readonly remaining: number }[];
    }[];
  }[];
}

async function quotasOf(gateway: Pick<TestGateway, "url">): Promise<ShownQuota[]> {
  const { status, body } = await manage(gateway, "GET", "/quota");
  expect(status).toBe(200);
  return body.services.filter(({ service }: ShownQuota) => service === "api");
}

const queueMs = (response: Response) => Number.parseInt(response.headers.get("x-proxy-queue-duration") ?? "0", 10);

describe("Thirty simultaneous requests, ten allowed in two seconds", () => {
  test("All held requests are served and the upstream refuses none, in every style of headers", async () => {
    const outcomes = await Promise.all(
      Object.keys(QUOTA_STYLES).map(async (style) => {
        const { upstream, ask } = await start({ mode: "hold", maxWaitMs: 20_000 }, { style });
        const responses = await Promise.all(Array.from({ length: 30 }, () => ask("x")));
        return { style, responses, counts: upstream.counts };
      }),
    );
    for (const { style, responses, counts } of outcomes) {
      expect(
        responses.map(({ status }) => status),
        style,
      ).toEqual(Array(30).fill(200));
      expect(counts, style).toEqual({ served: 30, refused: 0 });
      // The last responses report how long their requests waited.
      expect(Math.max(...responses.map(queueMs)), style).toBeGreaterThan(2_000);
    }
  });
});

describe("Held request", () => {
  test("A request that cannot be sent in time is refused at once, with an exact Retry-After", async () => {
    const { upstream, ask } = await start({ mode: "hold", maxWaitMs: 500 }, { limit: 1, windowMs: 1_500 });
    expect((await ask()).status).toBe(200);
    const before = Date.now();
    const refused = await ask();
    expect(Date.now() - before).toBeLessThan(400);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("x-proxy-error")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect(refused.headers.get("x-proxy-queue-duration")).toBeNull();
    const body = (await refused.json()) as { message: string; quota: { retryAt: string; reason: string } };
    expect(body).toMatchObject({ code: "UPSTREAM_QUOTA_EXHAUSTED", status: 429, quota: { reason: "too long" } });
    const seconds = Number(refused.headers.get("retry-after"));
    expect(seconds).toBe(Math.ceil((Date.parse(body.quota.retryAt) - before) / 1_000));
    expect(body.message).toContain(`in ${seconds} second`);
    await sleep(seconds * 1_000);
    expect((await ask()).status).toBe(200);
    expect(upstream.counts).toEqual({ served: 2, refused: 0 });
  });

  test("Prefer: wait makes the maximum wait longer or shorter", async () => {
    const { ask } = await start({ mode: "hold", maxWaitMs: 300 }, { limit: 1, windowMs: 800 });
    await ask();
    const waited = await ask("", { headers: { Prefer: "respond-async, wait=5" } });
    expect(waited.status).toBe(200);
    expect(queueMs(waited)).toBeGreaterThan(500);
    expect((await ask("", { headers: { prefer: "wait=0" } })).status).toBe(429);
  });

  test("A held request leaves the queue when its client leaves", async () => {
    const { upstream, gateway, ask, waiting } = await start(
      { mode: "hold", maxWaitMs: 20_000 },
      { limit: 1, windowMs: 600 },
    );
    await ask("first");
    const leaver = new AbortController();
    const left = ask("left", { signal: leaver.signal }).catch(() => "left");
    await waiting(1);
    leaver.abort();
    expect(await left).toBe("left");
    await waiting(0);
    expect((await ask("next")).status).toBe(200);
    expect(upstream.requests.map(({ url }) => url)).toEqual(["/first", "/next"]);
    expect(gateway.exchanges().find(({ path }) => path === "/proxy/api/left")).toMatchObject({
      status: 499,
      outcome: "client-left",
      attempts: 0,
    });
  });

  test("A held request does not count as in flight", async () => {
    const { ask, waiting, gateway } = await start(
      { mode: "hold", maxWaitMs: 20_000 },
      { limit: 1, windowMs: 500 },
      { maxConcurrent: 1 },
    );
    await ask();
    const held = [ask(), ask()];
    await waiting(2);
    const status = (await (await fetch(`${gateway.url}/status`)).json()) as {
      services: { key: string; inFlight: unknown; quota: unknown }[];
      load: { inFlight: unknown };
    };
    expect(status.services.find(({ key }) => key === "api")).toMatchObject({
      inFlight: { current: 0, limit: 1 },
      quota: { mode: "hold", waiting: 2, tightest: { remaining: 0, limit: 1 } },
    });
    expect(status.load.inFlight).toMatchObject({ current: 0 });
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200]);
  });

  test("A held request waits for a free slot instead of being shed", async () => {
    let inFlight = 0;
    let most = 0;
    let left = 1;
    const upstream = await startUpstream((req, res) => {
      req.resume();
      most = Math.max(most, ++inFlight);
      left = req.url === "/first" ? 0 : 100;
      setTimeout(() => {
        inFlight--;
        res.writeHead(200, {
          "x-ratelimit-limit": "100",
          "x-ratelimit-remaining": String(left),
          "x-ratelimit-reset-after": "0.4",
        });
        res.end("x".repeat(100_000));
      }, 20);
    });
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, MAX_IN_FLIGHT: "5" },
      services: { api: { baseUrl: upstream.url, quota: { mode: "hold" } } },
    });
    const ask = (path: string) =>
      fetch(`${gateway.url}/proxy/api/${path}`).then(async (each) => [each.status, (await each.text()).length]);
    await ask("first");
    expect(await Promise.all(Array.from({ length: 30 }, () => ask("x")))).toEqual(Array(30).fill([200, 100_000]));
    expect(most).toBeLessThanOrEqual(5);
    expect(((await (await fetch(`${gateway.url}/status`)).json()) as { load: object }).load).toMatchObject({
      inFlight: { current: 0, limit: 5 },
    });
  });

  test("A request is refused when the queue is full", async () => {
    const { ask } = await start({ mode: "hold", maxWaitMs: 20_000, maxQueue: 2 }, { limit: 1, windowMs: 400 });
    await ask();
    const responses = await Promise.all(Array.from({ length: 4 }, () => ask()));
    expect(responses.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429]);
    const refused = responses.find(({ status }) => status === 429) as Response;
    expect(await refused.json()).toMatchObject({ quota: { reason: "queue full" } });
  });

  test("The deadline of a request begins after its wait", async () => {
    const { ask } = await start(
      { mode: "hold", maxWaitMs: 20_000 },
      { limit: 1, windowMs: 1_200, latencyMs: 200 },
      { timeoutMs: 600 },
    );
    const responses = await Promise.all([ask(), ask()]);
    expect(responses.map(({ status }) => status)).toEqual([200, 200]);
    expect(Math.max(...responses.map(queueMs))).toBeGreaterThan(800);
  });

  test("A held request keeps its body, however large, until it is sent", async () => {
    const sizes: number[] = [];
    const upstream = await startUpstream((req, res) => {
      let bytes = 0;
      req.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      req.on("end", () => {
        sizes.push(bytes);
        res.writeHead(200, {
          "x-ratelimit-limit": "1",
          "x-ratelimit-remaining": "0",
          "x-ratelimit-reset-after": "0.5",
        });
        res.end();
      });
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url, quota: { mode: "hold" } } } });
    const post = (bytes: number) =>
      fetch(`${gateway.url}/proxy/api/`, { method: "POST", body: Buffer.alloc(bytes, "x") }).then(
        ({ status }) => status,
      );
    expect(await post(10)).toBe(200);
    expect(await Promise.all([post(100), post(5_000_000)])).toEqual([200, 200]);
    expect(sizes.sort((a, b) => a - b)).toEqual([10, 100, 5_000_000]);
  });
});

describe("429 from the upstream", () => {
  /** Refuses this many requests, and then serves. */
  async function startRefusing(times: number, headers: Record<string, string>, method = "GET") {
    let count = 0;
    const upstream = await startUpstream((req, res) => {
      req.resume();
      count++;
      if (count > times) return void res.end("served");
      res.writeHead(429, headers);
      res.end("slow down");
    });
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: { api: { baseUrl: upstream.url, quota: { mode: "hold" }, timeoutMs: 3_000 } },
    });
    return {
      upstream,
      gateway,
      ask: (init: RequestInit = {}) => fetch(`${gateway.url}/proxy/api/`, { method, ...init }),
    };
  }

  test("A 429 closes the bucket, and a replayable request waits and is sent again", async () => {
    const { upstream, gateway, ask } = await startRefusing(1, { "retry-after": "1" });
    const before = Date.now();
    const response = await ask();
    expect([response.status, await response.text()]).toEqual([200, "served"]);
    expect(Date.now() - before).toBeGreaterThan(1_000);
    expect(queueMs(response)).toBeGreaterThan(500);
    expect(upstream.requests).toHaveLength(2);
    expect(gateway.exchanges()[0]).toMatchObject({ attempts: 2, outcome: "relayed", status: 200 });
    expect((await quotasOf(gateway))[0]?.upstreamRefusals).toMatchObject({ count: 1 });
  });

  test("A 429 is relayed if its time is after the deadline, and closes the bucket", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "60" });
    const response = await ask();
    expect([response.status, await response.text()]).toEqual([429, "slow down"]);
    expect(response.headers.get("x-proxy-error")).toBeNull();
    const refused = await ask();
    expect(refused.headers.get("x-proxy-error")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect([60, 61]).toContain(Number(refused.headers.get("retry-after")));
    expect(upstream.requests).toHaveLength(1);
  });

  test("A 429 to a POST is relayed: a request that is not replayable is not sent again", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "1" }, "POST");
    const response = await ask({ body: "x" });
    expect(response.status).toBe(429);
    expect(upstream.requests).toHaveLength(1);
    expect((await ask({ body: "x" })).status).toBe(200);
  });

  test("A 429 is relayed to a client that does not wait", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "1" });
    expect((await ask({ headers: { prefer: "wait=0" } })).status).toBe(429);
    expect(upstream.requests).toHaveLength(1);
  });

  test("Repeated 429s end at the deadline", async () => {
    const { upstream, ask } = await startRefusing(1_000, { "retry-after": "0" });
    const response = await ask();
    expect(response.status).toBe(429);
    expect(upstream.requests.length).toBeGreaterThan(2);
    expect(upstream.requests.length).toBeLessThan(40);
  });
});

describe("Observe mode, the default", () => {
  test("Observe mode relays every response unchanged, and knows what is left", async () => {
    const { upstream, ask, quotas, gateway } = await start({}, { limit: 2, windowMs: 60_000 });
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await ask()).status);
    expect(statuses).toEqual([200, 200, 429]);
    expect(upstream.counts).toEqual({ served: 2, refused: 1 });
    const [shown] = await quotas();
    expect(shown).toMatchObject({ service: "api", mode: "observe", upstreamRefusals: { count: 1 } });
    expect(shown?.credentials[0]?.buckets[0]?.windows).toMatchObject([{ limit: 2, remaining: 0 }]);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('byteproxy_quota_remaining{service="api"} 0');
    expect(metrics).toContain('byteproxy_quota_upstream_refusals_total{service="api"} 1');
  });

  test("Mode off reads nothing", async () => {
    const { ask, quotas } = await start({ mode: "off" }, { limit: 1, windowMs: 60_000 });
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429]);
    expect(await quotas()).toEqual([]);
  });
});

describe("Two credentials", () => {
  test("Callers with different credentials, and requests without one, never share an account", async () => {
    const { upstream, ask, quotas } = await start(
      { mode: "hold", maxWaitMs: 0 },
      { limit: 1, windowMs: 60_000, bucketOf: (req) => req.headers.authorization ?? "" },
    );
    const as = (token: string) => ask("", token === "" ? {} : { headers: { authorization: `Bearer ${token}` } });
    for (const token of ["one", "two", ""]) expect((await as(token)).status, token).toBe(200);
    for (const token of ["one", "two", ""]) expect((await as(token)).status, token).toBe(429);
    expect(upstream.counts).toEqual({ served: 3, refused: 0 });
    const [shown] = await quotas();
    expect(shown?.credentials.map(({ source }) => source)).toEqual(["caller", "caller", null]);
    expect(new Set(shown?.credentials.map(({ fingerprint }) => fingerprint)).size).toBe(3);
    expect(JSON.stringify(shown)).not.toMatch(/Bearer|one|two/);
  });

  test("A new secret of a service begins with a new account", async () => {
    const upstream = await startQuotaUpstream({
      limit: 1,
      windowMs: 60_000,
      bucketOf: (req) => req.headers.authorization ?? "",
    });
    const env = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: "token-of-the-first-kind" };
    const gateway = await startGateway({
      env,
      services: {
        api: {
          baseUrl: upstream.url,
          auth: { type: "bearer", tokenEnvVar: "TOKEN" },
          quota: { mode: "hold", maxWaitMs: 0 },
        },
      },
    });
    const ask = async () => (await fetch(`${gateway.url}/proxy/api/`)).status;
    expect([await ask(), await ask()]).toEqual([200, 429]);
    env.TOKEN = "token-of-the-second-kind";
    expect(await gateway.reload()).toMatchObject({ isDone: true });
    expect([await ask(), await ask()]).toEqual([200, 429]);
    env.TOKEN = "token-of-the-first-kind";
    await gateway.reload();
    expect(await ask()).toBe(429);
    expect(upstream.counts.refused).toBe(0);
  });
});

describe("Shutdown", () => {
  test("A shutdown serves the held requests that can be sent in time, and refuses the others", async () => {
    const { gateway, ask, upstream, waiting } = await start(
      { mode: "hold", maxWaitMs: 60_000 },
      { limit: 2, windowMs: 800 },
    );
    await Promise.all([ask(), ask()]);
    const held = Array.from({ length: 8 }, () => ask());
    await waiting(8);
    const cut = gateway.drain(0, 2_000);
    const responses = await Promise.all(held);
    const codes = responses.map((response) => response.headers.get("x-proxy-error") ?? response.status);
    expect(codes.filter((code) => code === 200).length).toBeGreaterThanOrEqual(2);
    expect(codes.filter((code) => code !== 200)).toEqual(
      Array(codes.filter((code) => code !== 200).length).fill("SHUTTING_DOWN"),
    );
    expect(codes).toContain("SHUTTING_DOWN");
    expect(upstream.counts.refused).toBe(0);
    expect(await cut).toBe(0);
  });
});

describe("Restart", () => {
  test("An exhausted quota and a closed bucket survive a restart", async () => {
    const folder = tempFolder();
    const upstream = await startUpstream((req, res) => {
      req.resume();
      if (req.url === "/closing") res.writeHead(429, { "retry-after": "60", "x-ratelimit-bucket": "closing" });
      else {
        const bucket = req.url === "/plenty" ? "plenty" : "used-up";
        const remaining = bucket === "plenty" ? "7" : "0";
        res.setHeader("x-ratelimit-bucket", bucket).setHeader("x-ratelimit-limit", "9");
        res.setHeader("x-ratelimit-remaining", remaining).setHeader("x-ratelimit-reset", "60");
      }
      res.end();
    });
    const open = async () =>
      startGateway({
        env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, TOKEN: "the-token-of-the-upstream" },
        services: {
          api: {
            baseUrl: upstream.url,
            auth: { type: "bearer", tokenEnvVar: "TOKEN" },
            quota: { mode: "hold", maxWaitMs: 0 },
          },
        },
        stores: await openFileStores(folder, isStoredService, isStoredKey),
      });
    const ask = async (gateway: TestGateway, path: string) =>
      (await fetch(`${gateway.url}/proxy/api/${path}`)).headers.get("x-proxy-error");
    const before = await open();
    for (const path of ["plenty", "closing", "used"]) await ask(before, path);
    await before.close();
    const text = readFileSync(join(folder, "quota.json"), "utf8");
    expect(text).not.toContain("the-token-of-the-upstream");
    const after = await open();
    expect(await ask(after, "used")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect(await ask(after, "closing")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect(await ask(after, "plenty")).toBeNull();
    const [shown] = await quotasOf(after);
    expect(shown?.credentials[0]).toMatchObject({
      source: "TOKEN",
      fingerprint: expect.stringMatching(/^[0-9a-f]{8}$/),
    });
    expect(shown?.credentials[0]?.buckets.map(({ bucket }) => bucket)).toEqual(
      expect.arrayContaining(["used-up", "plenty", "closing"]),
    );
  });
});

describe("WebSocket", () => {
  test("A WebSocket handshake waits like a request, and leaves the queue when its client leaves", async () => {
    const echo = await startWebSocketEcho();
    const upstream = await startUpstream((req, res) => {
      res.writeHead(200, { "x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "0.7" });
      res.end(req.url);
    });
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: {
        api: { baseUrl: upstream.url, ws: true, quota: { mode: "hold" } },
        sockets: { baseUrl: echo.url, ws: true, quota: { mode: "hold" } },
      },
    });
    const at = (key: string) => new WebSocket(`${gateway.url.replace("http", "ws")}/proxy/${key}/`);
    const open = at("sockets");
    onTestFinished(() => open.terminate());
    await once(open, "open");
    open.send("hello");
    expect(String(((await once(open, "message")) as [Buffer])[0])).toBe("hello");

    await fetch(`${gateway.url}/proxy/api/`);
    const leaver = at("api");
    leaver.on("error", () => {});
    const waits = async (count: number) => (await quotasOf(gateway))[0]?.credentials[0]?.waiting === count;
    await eventually(() => waits(1), "the handshake to wait");
    leaver.terminate();
    await eventually(() => waits(0), "the handshake to leave the queue", 1_000);
    const stayer = at("api");
    stayer.on("error", () => {});
    const [, response] = (await once(stayer, "unexpected-response")) as [unknown, IncomingMessage];
    expect(Number.parseInt(String(response.headers["x-proxy-queue-duration"]), 10)).toBeGreaterThan(100);
    expect(upstream.requests).toHaveLength(2);
  });
});

describe("Accounts", () => {
  test("An account survives a thousand other credentials, the removal and re-creation of its service, and a time in mode off", async () => {
    const upstream = await startQuotaUpstream({
      limit: 1,
      windowMs: 60_000,
      latencyMs: 0,
      bucketOf: (req) => req.headers.authorization ?? "",
    });
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", LOGGING_ENABLED: "false" },
    });
    const config = { baseUrl: upstream.url, quota: { mode: "hold", maxWaitMs: 0 } };
    const put = (quota: Quota) => manage(gateway, "PUT", "/services/api", { ...config, quota });
    expect((await put({ mode: "hold", maxWaitMs: 0 })).status).toBe(201);
    const ask = (token: string) =>
      fetch(`${gateway.url}/proxy/api/`, { headers: { authorization: `Bearer ${token}` } }).then(
        ({ status }) => status,
      );
    expect([await ask("victim"), await ask("victim")]).toEqual([200, 429]);
    for (let i = 0; i < 1_100; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => ask(`other-${i + j}`)));
    expect(await ask("victim")).toBe(429);
    await put({ mode: "off" });
    await put({ mode: "hold", maxWaitMs: 0 });
    expect(await ask("victim")).toBe(429);
    expect((await manage(gateway, "DELETE", "/services/api")).status).toBe(204);
    await put({ mode: "hold", maxWaitMs: 0 });
    expect(await ask("victim")).toBe(429);
    expect(upstream.counts.refused).toBe(0);
  });

  test("An operator can reset what was learned", async () => {
    const { gateway, ask, upstream } = await start({ mode: "hold", maxWaitMs: 0 }, { limit: 1, windowMs: 60_000 });
    await ask();
    expect((await ask()).headers.get("x-proxy-error")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect((await manage(gateway, "POST", "/services/api/quota/reset")).status).toBe(204);
    expect((await ask()).headers.get("x-proxy-error")).toBeNull();
    expect(upstream.counts).toEqual({ served: 1, refused: 1 });
    const { body } = await manage(gateway, "GET", "/audit");
    expect(body.entries[0]).toMatchObject({ action: "quota.reset", subject: "api" });
  });
});

describe("Visibility", () => {
  test("Explain shows how long a request would wait or why it would be refused, and reserves nothing", async () => {
    const { upstream, gateway, ask } = await start({ mode: "hold", maxWaitMs: 500 }, { limit: 1, windowMs: 60_000 });
    const explain = async (headers = {}) =>
      (await manage(gateway, "POST", "/explain", { method: "GET", path: "/proxy/api/x", headers })).body;
    expect(await explain()).toMatchObject({ verdict: "forward", quota: { waitMs: 0 } });
    await ask();
    expect(await explain()).toMatchObject({
      verdict: "refuse",
      refusal: { code: "UPSTREAM_QUOTA_EXHAUSTED" },
      quota: null,
    });
    const { verdict, quota, steps } = await explain({ prefer: "wait=100" });
    expect([verdict, quota.waitMs > 50_000, steps.at(-2)]).toEqual([
      "forward",
      true,
      { step: "quota", verdict: "pass", reached: true },
    ]);
    expect(upstream.counts.served).toBe(1);
  });

  test("The check reports refusals and an exhausted quota", async () => {
    const { gateway, ask } = await start({}, { limit: 1, windowMs: 60_000 });
    const find = async () => {
      const { body } = await manage(gateway, "GET", "/diagnostics");
      return body.checks.find(({ id }: { id: string }) => id === "quota:api");
    };
    expect(await find()).toMatchObject({ status: "ok", fix: null, evidence: { mode: "observe" } });
    await ask();
    await ask();
    expect(await find()).toMatchObject({
      status: "warn",
      summary: expect.stringMatching(
        /^the upstream refused \d+ requests? as too many; the quota is used up and resets in \d+ seconds?$/,
      ),
      evidence: { tightest: { remaining: 0 } },
    });
  });

  test("The access line reports the wait separately from the upstream's time", async () => {
    const { gateway, ask } = await start({ mode: "hold" }, { limit: 1, windowMs: 600, latencyMs: 1 });
    await ask();
    await ask();
    const [first, second] = gateway.exchanges() as { queuedUs: number; upstreamUs: number; durationUs: number }[];
    expect([first, second]).toMatchObject([{ quota: "passed" }, { quota: "held" }]);
    expect(first?.queuedUs).toBe(0);
    expect(second?.queuedUs).toBeGreaterThan(300_000);
    expect(second?.upstreamUs).toBeLessThan(300_000);
    expect(second?.durationUs).toBeGreaterThan(second?.queuedUs as number);
    const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
    expect(metrics).toContain('byteproxy_quota_wait_seconds_count{service="api"} 1');
    expect(metrics).toContain('byteproxy_quota_waiting{service="api"} 0');
  });
});

describe("Change of the service", () => {
  test("A change of the mode and of the maximum wait applies at once, and nothing is forgotten", async () => {
    const { gateway, ask } = await start({}, { limit: 1, windowMs: 60_000 });
    await ask();
    const put = (quota: Quota) => manage(gateway, "PATCH", "/services/api", { quota });
    expect((await put({ mode: "hold", maxWaitMs: 100 })).status).toBe(200);
    expect((await ask()).headers.get("x-proxy-error")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect((await put({ mode: "observe" })).status).toBe(200);
    expect((await ask()).headers.get("x-proxy-error")).toBeNull();
    expect((await put({ mode: "sometimes" as "off" })).body).toMatchObject({
      code: "VALIDATION_ERROR",
      details: { "quota.mode": [expect.stringContaining("observe")] },
    });
  });

  test("A held request is sent by the definition that admitted it", async () => {
    const { gateway, ask, waiting } = await start({ mode: "hold" }, { limit: 1, windowMs: 500 });
    await ask();
    const held = ask("held");
    await waiting(1);
    expect((await manage(gateway, "PATCH", "/services/api", { timeoutMs: 5_000 })).status).toBe(200);
    expect((await held).status).toBe(200);
  });
});
