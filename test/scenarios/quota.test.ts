/** What the upstream allows, over real sockets: held instead of refused, told exactly, and given back. */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { isStoredKey } from "../../src/callers/issued-key.ts";
import { isStoredService } from "../../src/registry/stored-service.ts";
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
    env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true" },
    services: { api: { baseUrl: upstream.url, quota, ...service } },
  });
  const ask = (path = "", init: RequestInit = {}) => fetch(`${gateway.url}/proxy/api/${path}`, init);
  /** Until so many requests are held. */
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

const queueMs = (answer: Response) => Number.parseInt(answer.headers.get("x-proxy-queue-duration") ?? "0", 10);

describe("thirty requests at once over ten in two seconds", () => {
  test("are all served, and none is refused upstream, whatever the style of the headers", async () => {
    const outcomes = await Promise.all(
      Object.keys(QUOTA_STYLES).map(async (style) => {
        const { upstream, ask } = await start({ mode: "hold", maxWaitMs: 20_000 }, { style });
        const answers = await Promise.all(Array.from({ length: 30 }, () => ask("x")));
        return { style, answers, counts: upstream.counts };
      }),
    );
    for (const { style, answers, counts } of outcomes) {
      expect(
        answers.map(({ status }) => status),
        style,
      ).toEqual(Array(30).fill(200));
      expect(counts, style).toEqual({ served: 30, refused: 0 });
      // Of the last ones it is said how long they waited.
      expect(Math.max(...answers.map(queueMs)), style).toBeGreaterThan(2_000);
    }
  });
});

describe("a held request", () => {
  test("is refused at once with an exact Retry-After when it would not go in time", async () => {
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

  test("waits for as long as Prefer says, in both directions", async () => {
    const { ask } = await start({ mode: "hold", maxWaitMs: 300 }, { limit: 1, windowMs: 800 });
    await ask();
    const waited = await ask("", { headers: { Prefer: "respond-async, wait=5" } });
    expect(waited.status).toBe(200);
    expect(queueMs(waited)).toBeGreaterThan(500);
    expect((await ask("", { headers: { prefer: "wait=0" } })).status).toBe(429);
  });

  test("gives its place back when the client leaves", async () => {
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

  test("holds no place among those in flight", async () => {
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

  test("goes as there are places: whoever waited is not shed for them", async () => {
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

  test("is refused when as many as may are waiting", async () => {
    const { ask } = await start({ mode: "hold", maxWaitMs: 20_000, maxQueue: 2 }, { limit: 1, windowMs: 400 });
    await ask();
    const answers = await Promise.all(Array.from({ length: 4 }, () => ask()));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 429, 429]);
    const refused = answers.find(({ status }) => status === 429) as Response;
    expect(await refused.json()).toMatchObject({ quota: { reason: "queue full" } });
  });

  test("has its service's whole time after the wait", async () => {
    const { ask } = await start(
      { mode: "hold", maxWaitMs: 20_000 },
      { limit: 1, windowMs: 1_200, latencyMs: 200 },
      { timeoutMs: 600 },
    );
    const answers = await Promise.all([ask(), ask()]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(Math.max(...answers.map(queueMs))).toBeGreaterThan(800);
  });

  test("keeps its body, whatever its size, until it may go", async () => {
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

describe("an upstream's own 429", () => {
  /** Refuses the first so many requests. */
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

  test("closes the bucket, and what is replayable waits and goes again", async () => {
    const { upstream, gateway, ask } = await startRefusing(1, { "retry-after": "1" });
    const before = Date.now();
    const answer = await ask();
    expect([answer.status, await answer.text()]).toEqual([200, "served"]);
    expect(Date.now() - before).toBeGreaterThan(1_000);
    expect(queueMs(answer)).toBeGreaterThan(500);
    expect(upstream.requests).toHaveLength(2);
    expect(gateway.exchanges()[0]).toMatchObject({ attempts: 2, outcome: "relayed", status: 200 });
    expect((await quotasOf(gateway))[0]?.upstreamRefusals).toMatchObject({ count: 1 });
  });

  test("goes to the client as it is when its time is beyond the deadline, and closes the bucket", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "60" });
    const answer = await ask();
    expect([answer.status, await answer.text()]).toEqual([429, "slow down"]);
    expect(answer.headers.get("x-proxy-error")).toBeNull();
    const refused = await ask();
    expect(refused.headers.get("x-proxy-error")).toBe("UPSTREAM_QUOTA_EXHAUSTED");
    expect([60, 61]).toContain(Number(refused.headers.get("retry-after")));
    expect(upstream.requests).toHaveLength(1);
  });

  test("to a POST goes to the client as it is: what is not replayable is not sent again", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "1" }, "POST");
    const answer = await ask({ body: "x" });
    expect(answer.status).toBe(429);
    expect(upstream.requests).toHaveLength(1);
    expect((await ask({ body: "x" })).status).toBe(200);
  });

  test("goes to the client as it is where it would not wait", async () => {
    const { upstream, ask } = await startRefusing(1, { "retry-after": "1" });
    expect((await ask({ headers: { prefer: "wait=0" } })).status).toBe(429);
    expect(upstream.requests).toHaveLength(1);
  });

  test("ends at the deadline, however often it comes", async () => {
    const { upstream, ask } = await startRefusing(1_000, { "retry-after": "0" });
    const answer = await ask();
    expect(answer.status).toBe(429);
    expect(upstream.requests.length).toBeGreaterThan(2);
    expect(upstream.requests.length).toBeLessThan(40);
  });
});

describe("observe, the default", () => {
  test("holds nothing, passes every answer on as it is, and knows what is left", async () => {
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

  test("off looks at nothing", async () => {
    const { ask, quotas } = await start({ mode: "off" }, { limit: 1, windowMs: 60_000 });
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429]);
    expect(await quotas()).toEqual([]);
  });
});

describe("two credentials", () => {
  test("of callers never share an account, and neither does a request without one", async () => {
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

  test("of a service: a new secret begins with a new account", async () => {
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

describe("an end", () => {
  test("is waited for by whoever goes in time, and the others are told", async () => {
    const { gateway, ask, upstream, waiting } = await start(
      { mode: "hold", maxWaitMs: 60_000 },
      { limit: 2, windowMs: 800 },
    );
    await Promise.all([ask(), ask()]);
    const held = Array.from({ length: 8 }, () => ask());
    await waiting(8);
    const cut = gateway.drain(0, 2_000);
    const answers = await Promise.all(held);
    const codes = answers.map((answer) => answer.headers.get("x-proxy-error") ?? answer.status);
    expect(codes.filter((code) => code === 200).length).toBeGreaterThanOrEqual(2);
    expect(codes.filter((code) => code !== 200)).toEqual(
      Array(codes.filter((code) => code !== 200).length).fill("SHUTTING_DOWN"),
    );
    expect(codes).toContain("SHUTTING_DOWN");
    expect(upstream.counts.refused).toBe(0);
    expect(await cut).toBe(0);
  });
});

describe("a restart", () => {
  test("forgets neither a quota that is used up nor a closed bucket", async () => {
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

describe("a WebSocket", () => {
  test("waits like a request, and gives its place back when its client leaves", async () => {
    const echo = await startWebSocketEcho();
    const upstream = await startUpstream((req, res) => {
      res.writeHead(200, { "x-ratelimit-limit": "1", "x-ratelimit-remaining": "0", "x-ratelimit-reset-after": "0.7" });
      res.end(req.url);
    });
    const gateway = await startGateway({
      env: { MANAGEMENT_API_KEY: MANAGEMENT_KEY },
      services: {
        // What is known of a quota goes on when the service moves within its origin, here from requests to WebSockets.
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
    await eventually(() => waits(1), "it to wait");
    leaver.terminate();
    await eventually(() => waits(0), "its place to be given back", 1_000);
    const stayer = at("api");
    stayer.on("error", () => {});
    const [, answer] = (await once(stayer, "unexpected-response")) as [unknown, IncomingMessage];
    expect(Number.parseInt(String(answer.headers["x-proxy-queue-duration"]), 10)).toBeGreaterThan(100);
    expect(upstream.requests).toHaveLength(2);
  });
});

describe("what is known", () => {
  test("outlives a thousand other credentials, a service that is removed and made anew, and a mode that is off for a while", async () => {
    const upstream = await startQuotaUpstream({
      ...{ limit: 1, windowMs: 60_000, latencyMs: 0 },
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

  test("is forgotten when an operator says so", async () => {
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

describe("what is seen of it", () => {
  test("explain says how long a request would wait, or why it would be refused, and takes nothing", async () => {
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

  test("the check tells of refusals and of what is used up", async () => {
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

  test("the access line has the wait apart from the upstream's time", async () => {
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

describe("a change of its service", () => {
  test("takes up another mode and another patience, and forgets nothing", async () => {
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

  test("lets whoever waits go by what they were admitted to", async () => {
    const { gateway, ask, waiting } = await start({ mode: "hold" }, { limit: 1, windowMs: 500 });
    await ask();
    const held = ask("held");
    await waiting(1);
    expect((await manage(gateway, "PATCH", "/services/api", { timeoutMs: 5_000 })).status).toBe(200);
    expect((await held).status).toBe(200);
  });
});
