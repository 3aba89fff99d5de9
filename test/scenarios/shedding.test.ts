/** Under load only proxied requests are refused, with the limit that was reached, and only while the load lasts. */
import type { ServerResponse } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { createPressureMonitor, findPressure, type PressureSample } from "../../src/pressure/monitor.ts";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { openSocket, rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

/** An upstream that responds when the test says so. */
async function startHeld(env: Record<string, string>, service: { maxConcurrent?: number } = {}) {
  const held: ServerResponse[] = [];
  const upstream = await startUpstream((req, res) => {
    if (req.url === "/now") res.end("ok");
    else held.push(res);
  });
  const gateway = await startGateway({
    env,
    services: {
      api: { baseUrl: upstream.url, rateLimit: { maxRequests: 100, windowMs: 60_000 }, ...service },
      other: { baseUrl: upstream.url },
    },
  });
  return { held, upstream, gateway };
}

async function expectShed(response: Response, gauge: string, message: RegExp) {
  expect(response.status).toBe(503);
  expect(response.headers.get("retry-after")).toBe("10");
  expect(response.headers.get("x-proxy-error")).toBe("UNDER_PRESSURE");
  const body = (await response.json()) as Record<string, unknown>;
  expect(body).toMatchObject({
    error: "Server under pressure",
    code: "UNDER_PRESSURE",
    pressure: { gauge, value: expect.any(Number), limit: expect.any(Number) },
  });
  expect(body.message).toMatch(message);
}

describe("MAX_IN_FLIGHT", () => {
  test("MAX_IN_FLIGHT refuses requests over the limit, and a slot is free again when an exchange ends or its client leaves", async () => {
    const { held, gateway } = await startHeld({ MAX_IN_FLIGHT: "2" });
    const leaving = new AbortController();
    const first = fetch(`${gateway.url}/proxy/api/slow`);
    const second = fetch(`${gateway.url}/proxy/other/slow`, { signal: leaving.signal }).catch(() => "left");
    await eventually(() => held.length === 2);
    const refused = await fetch(`${gateway.url}/proxy/api/now`);
    await expectShed(refused, "inFlight", /^2 requests in flight; MAX_IN_FLIGHT is 2\.$/);
    for (const path of ["/health", "/up", "/proxy/services"]) {
      expect((await fetch(`${gateway.url}${path}`)).status).toBe(200);
    }
    leaving.abort();
    expect(await second).toBe("left");
    await eventually(async () => (await fetch(`${gateway.url}/proxy/api/now`)).status === 200);
    held[0]?.end("done");
    expect(await (await first).text()).toBe("done");
    const outcomes = gateway.exchanges().map(({ outcome }) => outcome);
    expect(outcomes).toContain("refused:UNDER_PRESSURE");
  });

  test("Refusals and preflights do not count towards MAX_IN_FLIGHT", async () => {
    const { gateway } = await startHeld({ MAX_IN_FLIGHT: "1", PROXY_API_KEY: PROXY_KEY, CORS_ORIGINS: "*" });
    for (let i = 0; i < 5; i++) expect((await fetch(`${gateway.url}/proxy/api/now`)).status).toBe(401);
    const headers = { "x-api-key": PROXY_KEY };
    expect((await fetch(`${gateway.url}/proxy/api/now`, { headers })).status).toBe(200);
  });
});

describe("maxConcurrent", () => {
  test("maxConcurrent refuses one service's requests over the limit, spends nothing for them, and does not affect other services", async () => {
    const { held, gateway } = await startHeld({}, { maxConcurrent: 1 });
    const first = fetch(`${gateway.url}/proxy/api/slow`);
    await eventually(() => held.length === 1);
    const refused = await fetch(`${gateway.url}/proxy/api/now`);
    expect(refused.headers.get("x-proxy-service")).toBe("api");
    await expectShed(refused, "concurrent", /^1 request to api in flight; its maxConcurrent is 1\.$/);
    expect((await fetch(`${gateway.url}/proxy/other/now`)).status).toBe(200);
    held[0]?.end();
    await first;
    const after = await fetch(`${gateway.url}/proxy/api/now`);
    expect(after.status).toBe(200);
    expect(after.headers.get("ratelimit")).toMatch(/r=98;/);
  });

  test("A client without a key does not learn that maxConcurrent is reached", async () => {
    const { held, gateway } = await startHeld({ PROXY_API_KEY: PROXY_KEY }, { maxConcurrent: 1 });
    const headers = { "x-api-key": PROXY_KEY };
    void fetch(`${gateway.url}/proxy/api/slow`, { headers }).catch(() => {});
    await eventually(() => held.length === 1);
    expect((await fetch(`${gateway.url}/proxy/api/now`)).status).toBe(401);
  });
});

function block(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

describe("PRESSURE_* threshold", () => {
  test.each([
    ["PRESSURE_MAX_RSS_BYTES", "rssBytes", /^Resident memory is \d+ bytes; PRESSURE_MAX_RSS_BYTES is 1\.$/],
    ["PRESSURE_MAX_HEAP_USED_BYTES", "heapUsed", /^The heap in use is \d+ bytes; .* is 1\.$/],
  ])("%s sheds the proxy plane only, and /up says why", async (name, gauge, message) => {
    const { upstream, gateway } = await startHeld({ [name]: "1" });
    const startedAt = performance.now();
    await expectShed(await fetch(`${gateway.url}/proxy/api/now`), gauge, message);
    expect(performance.now() - startedAt).toBeLessThan(500);
    expect(upstream.requests).toEqual([]);
    for (const path of ["/health", "/health/ready", "/proxy/services"]) {
      expect((await fetch(`${gateway.url}${path}`)).status).toBe(200);
    }
    const up = await fetch(`${gateway.url}/up`);
    expect(up.status).toBe(503);
    expect(up.headers.get("retry-after")).toBe("10");
    expect(await up.json()).toMatchObject({
      status: "under pressure",
      healthy: false,
      pressure: { gauge, limit: 1, setting: name },
    });
  });

  test("Requests are shed only while the event loop is blocked, and a running stream continues", async () => {
    const { held, gateway } = await startHeld({
      PRESSURE_MAX_EVENT_LOOP_DELAY: "20",
      PRESSURE_SAMPLE_INTERVAL: "50",
      PRESSURE_RETRY_AFTER: "10",
    });
    const stream = fetch(`${gateway.url}/proxy/api/stream`);
    await eventually(() => held.length === 1);
    held[0]?.write("before ");
    const blocking = setInterval(() => {
      const until = performance.now() + 60;
      while (performance.now() < until);
    }, 1);
    try {
      await eventually(async () => {
        const response = await fetch(`${gateway.url}/proxy/api/now`);
        if (response.status !== 503) return false;
        await expectShed(response, "eventLoopDelay", /^The event loop's delay is \d+ ms; .* is 20\.$/);
        return true;
      });
      held[0]?.write("during ");
    } finally {
      clearInterval(blocking);
    }
    await eventually(async () => (await fetch(`${gateway.url}/proxy/api/now`)).status === 200, "recovery", 5_000);
    held[0]?.end("after");
    expect(await (await stream).text()).toBe("before during after");
  });

  const off = {
    PRESSURE_MAX_EVENT_LOOP_DELAY: 0,
    PRESSURE_MAX_HEAP_USED_BYTES: 0,
    PRESSURE_MAX_RSS_BYTES: 0,
    PRESSURE_MAX_EVENT_LOOP_UTILIZATION: 0,
    PRESSURE_SAMPLE_INTERVAL: 1_000,
  };

  test("A threshold is compared with the mean of one sample interval, without earlier samples", async () => {
    const monitor = createPressureMonitor({ ...off, PRESSURE_SAMPLE_INTERVAL: 25 });
    onTestFinished(monitor.close);
    // Before the first iteration of the event loop the histogram is empty.
    block(80);
    await eventually(() => monitor.sample.eventLoopDelay > 60);
    const { sample: first } = monitor;
    await eventually(() => monitor.sample !== first && monitor.sample.eventLoopDelay < 30);
    block(150);
    await eventually(() => monitor.sample.eventLoopDelay > 30);
    // The mean since the start would still be above 5 ms after ten more intervals.
    const samples = new Set<PressureSample>([monitor.sample]);
    await eventually(() => samples.add(monitor.sample).size > 10 || monitor.sample.eventLoopDelay < 4);
    const calm = [...samples].find(({ eventLoopDelay }) => eventLoopDelay < 4);
    expect(calm?.eventLoopUtilized).toBeLessThan(0.5);
  });

  test("A threshold is compared with a mean: one pause in an otherwise calm interval is no pressure", async () => {
    const monitor = createPressureMonitor({ ...off, PRESSURE_SAMPLE_INTERVAL: 200 });
    onTestFinished(monitor.close);
    const { sample: first } = monitor;
    await new Promise((resolve) => setTimeout(resolve, 30));
    block(80);
    await eventually(() => monitor.sample !== first);
    expect(monitor.sample.eventLoopDelay).toBeLessThan(40);
  });

  test("Thresholds are compared in one order, 0 is off, and a value at the threshold passes", () => {
    const sample: PressureSample = { eventLoopDelay: 300, heapUsed: 10, rssBytes: 20, eventLoopUtilized: 0.9 };
    expect(findPressure(sample, off)).toBeUndefined();
    expect(findPressure(sample, { ...off, PRESSURE_MAX_EVENT_LOOP_DELAY: 300 })).toBeUndefined();
    expect(
      findPressure(sample, { ...off, PRESSURE_MAX_EVENT_LOOP_UTILIZATION: 0.5, PRESSURE_MAX_RSS_BYTES: 5 }),
    ).toEqual({ gauge: "rssBytes", value: 20, limit: 5, setting: "PRESSURE_MAX_RSS_BYTES" });
  });
});

describe("/up", () => {
  test("/up shows the gauges", async () => {
    const { gateway } = await startHeld({});
    const up = await fetch(`${gateway.url}/up`);
    expect(up.status).toBe(200);
    expect(await up.json()).toEqual({
      status: "ok",
      eventLoopDelay: expect.any(Number),
      heapUsed: expect.any(Number),
      rssBytes: expect.any(Number),
      eventLoopUtilized: expect.any(Number),
      healthy: true,
    });
  });
});

describe("MAX_CONNECTIONS", () => {
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

  test("A connection over MAX_CONNECTIONS gets a refusal and is closed, and health checks still work", async () => {
    const { gateway } = await startHeld({ MAX_CONNECTIONS: "2" });
    const idle = [await openSocket(gateway.port), await openSocket(gateway.port)];
    const refused = await rawRequest(gateway.port, get("/proxy/api/now"));
    expect([refused.status, refused.end]).toEqual([503, "fin"]);
    expect(refused.head).toMatch(/^connection: close$/im);
    expect(JSON.parse(refused.body)).toMatchObject({
      code: "UNDER_PRESSURE",
      message: "3 connections are open; MAX_CONNECTIONS is 2.",
      pressure: { gauge: "connections", limit: 2 },
    });
    const health = await rawRequest(gateway.port, get("/health"));
    expect([health.status, health.end]).toEqual([200, "fin"]);
    idle[0]?.write(get("/proxy/api/now"));
    await eventually(() => idle[0]?.received.includes("200 OK"));
    idle[1]?.destroy();
    await eventually(async () => (await fetch(`${gateway.url}/proxy/api/now`)).status === 200);
  });

  test("Hundreds of connections over MAX_CONNECTIONS are closed at once", async () => {
    const { gateway } = await startHeld({ MAX_CONNECTIONS: "1" });
    const sockets = await Promise.all(Array.from({ length: 300 }, () => openSocket(gateway.port)));
    await eventually(() => sockets.filter((socket) => socket.closed).length >= 300 - 257);
    expect(sockets.filter((socket) => !socket.closed).length).toBeGreaterThan(200);
  });
});
