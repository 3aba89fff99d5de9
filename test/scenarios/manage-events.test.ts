/** `GET /manage/events`: what happens in the gateway, as Server-Sent Events. */
import { createServer } from "node:http";
import { describe, expect, test } from "vitest";
import { ask } from "../support/contract.ts";
import { followEvents } from "../support/event-stream.ts";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

const KEYS = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
const caller = { "x-api-key": PROXY_KEY };
const operator = { "x-api-key": MANAGEMENT_KEY, "content-type": "application/json" };

async function start(more: Record<string, string> = {}, env: Record<string, string> = { ...KEYS, ...more }) {
  const upstream = await startUpstream(
    (req, res) => {
      const url = req.url ?? "";
      if (url.startsWith("/held/")) {
        res
          .setHeader("x-ratelimit-limit", "1")
          .setHeader("x-ratelimit-remaining", "0")
          .setHeader("x-ratelimit-reset", "1");
      }
      res.statusCode = Number(/status=(\d+)/.exec(url)?.[1] ?? 200);
      res.end("ok");
    },
    createServer({ keepAlive: true }),
  );
  const gateway = await startGateway({
    env,
    services: {
      api: { baseUrl: upstream.url, retries: 0 },
      other: { baseUrl: upstream.url, retries: 0 },
      held: { baseUrl: `${upstream.url}/held/`, quota: { mode: "hold", maxWaitMs: 60_000 } },
      broken: {
        baseUrl: "http://127.0.0.1:9/",
        retries: 0,
        breaker: { minRequests: 1, openMs: 100 },
      },
    },
  });
  const send = (path: string, headers: Record<string, string> = caller) =>
    ask(gateway.port, { method: "GET", path: `/proxy/${path}`, headers });
  const follow = (query = "", key: string | undefined = MANAGEMENT_KEY) => followEvents(gateway.url, key, query);
  return { gateway, send, follow };
}

async function issue(gateway: TestGateway, more: object = {}) {
  const body = JSON.stringify({ name: "x", permissions: ["manage:read"], ...more });
  const answer = await ask(gateway.port, { method: "POST", path: "/manage/keys", headers: operator, body });
  return JSON.parse(answer.body) as { key: string; id: string };
}

const change = ({ port }: TestGateway, method: string, path: string, body?: object) =>
  ask(port, { method, path, headers: operator, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });

describe("/manage/events", () => {
  test("The stream begins with a comment before anything happens", async () => {
    const { follow } = await start();
    const stream = await follow();
    expect(stream.response.statusCode).toBe(200);
    expect(stream.response.headers).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    });
    await eventually(() => stream.text() === ": the events of this gateway\n\n");
  });

  test("Each finished exchange is one event with the fields and masks of the log", async () => {
    const { gateway, send, follow } = await start();
    const stream = await follow();
    await send("api/a?token=a-secret-value");
    await send("unknown/b");
    await send("api/c", { "x-api-key": "wrong" });
    await eventually(() => stream.events().length === 3);
    expect(stream.events()).toEqual(gateway.exchanges().map(({ level, msg, ...data }) => ({ event: "request", data })));
    expect(stream.text()).not.toContain("a-secret-value");
  });

  test("No text that a client sends begins an event or a line of the stream", async () => {
    const { gateway, send, follow } = await start();
    const stream = await follow();
    const forged = "event: change\\ndata: {}";
    for (const path of [
      "/proxy/api/%0a%0aevent:%20change%0adata:%20%7b%7d%0a%0a",
      "/proxy/api/%0d%0d",
      '/proxy/api/"},"x":{"',
      "/proxy/api/\\n\\nevent:change",
      "/proxy/api/<script>alert(1)</script>",
      "/proxy/api/\u2028\u2029\u0085",
    ]) {
      const bytes = `GET ${path} HTTP/1.1\r\nHost: a\r\nx-api-key: ${PROXY_KEY}\r\nX-Request-Id: ${forged}\r\nConnection: close\r\n\r\n`;
      await rawRequest(gateway.port, bytes);
    }
    await send("api/last");
    await stream.next("request", ({ path }) => path === "/proxy/api/last");
    const count = gateway.exchanges().length;
    expect(stream.events().map(({ event }) => event)).toEqual(Array.from({ length: count }, () => "request"));
    const lines = stream.text().split(/[\r\n]/);
    expect(lines.filter((line) => !/^(?::.*|event: request|data: \{"time":.*\}|)$/.test(line))).toEqual([]);
  });

  test("Changes, breakers and quotas are events, without secrets", async () => {
    const { gateway, send, follow } = await start();
    const stream = await follow();
    const config = { baseUrl: "https://api.weather.example/v2/", headers: { "X-Token": "a-configured-secret" } };
    expect((await change(gateway, "POST", "/manage/services", { key: "weather", config })).status).toBe(201);
    expect(await stream.next("change")).toMatchObject({ action: "service.create", subject: "weather" });
    await send("broken/");
    expect(await stream.next("breaker")).toMatchObject({ service: "broken", state: "open", failures: 1 });
    await stream.next("request", ({ service }) => service === "broken");
    await send("held/a");
    await send("held/b");
    expect((await stream.next("quota")).state).toBe("holding");
    await stream.next("quota", ({ service, state }) => service === "held" && state === "released");
    await send("api/c?status=429");
    expect(await stream.next("quota", ({ state }) => state === "refused")).toEqual({
      service: "api",
      state: "refused",
      until: expect.stringMatching(/^20\d\d-.*Z$/),
    });
    expect(stream.text()).not.toContain("a-configured-secret");
  });

  test("The begin and the end of pressure are events", async () => {
    const { follow } = await start({
      PRESSURE_MAX_EVENT_LOOP_DELAY: "20",
      PRESSURE_SAMPLE_INTERVAL: "50",
    });
    const stream = await follow();
    const blockUntil = performance.now() + 300;
    while (performance.now() < blockUntil);
    expect(await stream.next("pressure", ({ state }) => state === "begins")).toMatchObject({
      gauge: "eventLoopDelay",
      limit: 20,
      setting: "PRESSURE_MAX_EVENT_LOOP_DELAY",
    });
    await stream.next("pressure", ({ state }) => state === "ends");
  });

  test("?service= leaves out other services, and ?status= other requests", async () => {
    const { gateway, send, follow } = await start();
    const [ofApi, failed] = [await follow("?service=api"), await follow("?status=5xx")];
    await send("other/a");
    await send("api/b?status=500");
    await send("broken/");
    await change(gateway, "POST", "/manage/services/other/rate-limit/reset");
    await change(gateway, "POST", "/manage/reload");
    await send("api/end?status=503");
    await ofApi.next("request", ({ status }) => status === 503);
    await failed.next("request", ({ status }) => status === 503);
    const shown = (events: readonly { event: string; data: Record<string, unknown> }[]) =>
      events.map(
        ({ event, data }) =>
          `${event} ${data.service ?? data.action} ${data.status ?? data.subject ?? data.state ?? ""}`,
      );
    expect(shown(ofApi.events())).toEqual(["request api 500", "change reload ", "request api 503"]);
    expect(shown(failed.events())).toEqual([
      "request api 500",
      "breaker broken open",
      "request broken 502",
      "change rate-limit.reset other",
      "change reload ",
      "request api 503",
    ]);
  });

  test.each(["status=6xx", "service=A/B", "sevice=api", "code=CIRCUIT_OPEN", "limit=1"])(
    "The query %s is refused with 400",
    async (query) => {
      const { gateway } = await start();
      const answer = await change(gateway, "GET", `/manage/events?${query}`);
      expect([answer.status, JSON.parse(answer.body).code]).toEqual([400, "VALIDATION_ERROR"]);
    },
  );

  test("A key needs manage:read, and the events are on the operators' listener only", async () => {
    const { gateway } = await start({ MANAGEMENT_PORT: "0" });
    const statusOf = async (url: string, key?: string) => {
      const { response, close } = await followEvents(url, key);
      close();
      return response.statusCode;
    };
    const managementUrl = gateway.managementUrl as string;
    expect(await statusOf(gateway.url, MANAGEMENT_KEY)).toBe(404);
    expect(await statusOf(managementUrl, MANAGEMENT_KEY)).toBe(200);
    expect(await statusOf(managementUrl)).toBe(401);
    expect(await statusOf(managementUrl, PROXY_KEY)).toBe(401);
  });

  test("The stream ends with the key that opened it: revoked, expired or without the permission", async () => {
    const { gateway, send, follow } = await start();
    const [revoked, narrowed, kept] = [await issue(gateway), await issue(gateway), await issue(gateway)];
    const expiring = await issue(gateway, { expiresAt: new Date(Date.now() + 1_500).toISOString() });
    const streams = [await follow("", revoked.key), await follow("", narrowed.key), await follow("", expiring.key)];
    const others = [await follow("", kept.key), await follow()];
    await change(gateway, "DELETE", `/manage/keys/${revoked.id}`);
    await change(gateway, "PATCH", `/manage/keys/${narrowed.id}`, { permissions: ["api:read"] });
    await change(gateway, "PATCH", `/manage/keys/${kept.id}`, { permissions: ["manage:read", "api:read"] });
    for (const stream of streams) {
      await stream.ended;
      expect(stream.events().at(-1)).toEqual({ event: "end", data: { reason: "key-ended" } });
    }
    await send("api/after");
    for (const stream of others) await stream.next("request", ({ path }) => path === "/proxy/api/after");
    for (const stream of streams) expect(stream.text()).not.toContain("/proxy/api/after");
  });

  test("The stream ends when a reload replaces the management key", async () => {
    const env = { ...KEYS };
    const { gateway, follow, send } = await start({}, env);
    const stream = await follow();
    await gateway.reload();
    await send("api/a");
    await stream.next("request");
    env.MANAGEMENT_API_KEY = "another-management-key-0123456789";
    await gateway.reload();
    await stream.ended;
    expect(stream.events().at(-1)).toEqual({ event: "end", data: { reason: "key-ended" } });
    const other = await follow("", env.MANAGEMENT_API_KEY);
    expect(other.response.statusCode).toBe(200);
  });

  test("Readers are limited to 32, and a reader that leaves makes room", async () => {
    const { gateway, follow } = await start();
    // A response to HEAD has no body: it is no reader.
    for (let i = 0; i < 40; i++) expect((await change(gateway, "HEAD", "/manage/events")).status).toBe(200);
    const streams = await Promise.all(Array.from({ length: 32 }, () => follow()));
    expect(streams.map(({ response }) => response.statusCode)).toEqual(streams.map(() => 200));
    const refused = await change(gateway, "GET", "/manage/events");
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([503, "UNDER_PRESSURE"]);
    expect(JSON.parse(refused.body).message).toMatch(/^32 readers/);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    streams[0]?.close();
    await eventually(async () => (await follow()).response.statusCode === 200);
  });

  test("Clients that leave at once keep no place", async () => {
    const { gateway, follow } = await start();
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        const stream = await follow();
        stream.close();
        await stream.ended;
      }),
    );
    for (let i = 0; i < 50; i++) {
      const socket = await openSocket(gateway.port);
      socket.end(`GET /manage/events HTTP/1.1\r\nHost: a\r\nx-api-key: ${MANAGEMENT_KEY}\r\n\r\n`, () =>
        socket.destroy(),
      );
    }
    await eventually(async () => (await follow()).response.statusCode === 200);
  });

  test("A drain ends the streams with their last event, also of readers that do not read, and refuses new ones", async () => {
    const { gateway, send, follow } = await start();
    const stream = await follow();
    const stuck = await follow();
    stuck.response.pause();
    const path = `api/${"x".repeat(15_000)}`;
    for (let i = 0; i < 60; i++) await Promise.all(Array.from({ length: 10 }, () => send(path)));
    const begun = performance.now();
    const drained = gateway.drain(200, 20_000);
    expect((await change(gateway, "GET", "/manage/events")).status).toBe(503);
    expect(await drained).toBe(0);
    // Long before the time for requests in flight is over.
    expect(performance.now() - begun).toBeLessThan(10_000);
    await stream.ended;
    expect(stream.events().at(-1)).toEqual({ event: "end", data: { reason: "draining" } });
    expect(stream.events()).toHaveLength(601);
  }, 20_000);
});
