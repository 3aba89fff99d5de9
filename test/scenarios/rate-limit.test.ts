/** The gateway's own rate limits: exact, visible, and without a way around them. */
import { describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { rawRequest } from "../support/raw-request.ts";
import { startUpstream } from "../support/upstream.ts";

async function start(
  rateLimit: { maxRequests: number; windowMs: number; per?: "service" | "caller" | "ip" },
  env = {},
) {
  const upstream = await startUpstream();
  const gateway = await startGateway({ env, services: { api: { baseUrl: upstream.url, rateLimit } } });
  const ask = (path = "", headers: Record<string, string> = {}) =>
    fetch(`${gateway.url}/proxy/api/${path}`, { headers });
  return { upstream, gateway, ask };
}

describe("Rate limit", () => {
  test("Requests above the rate limit get a 429 with exact message and fields, and are not sent", async () => {
    const { upstream, ask } = await start({ maxRequests: 2, windowMs: 30_000 });
    for (const remaining of [1, 0]) {
      const response = await ask();
      expect(response.status).toBe(200);
      expect(response.headers.get("ratelimit")).toBe(`"service";r=${remaining};t=30`);
      expect(response.headers.get("x-ratelimit-limit")).toBeNull();
    }
    const refused = await ask();
    expect(refused.status).toBe(429);
    const seconds = Number(refused.headers.get("retry-after"));
    expect([29, 30]).toContain(seconds);
    expect(await refused.json()).toMatchObject({
      error: "Rate limit exceeded",
      message: `Rate limit exceeded for api. Resets in ${seconds} seconds.`,
      code: "RATE_LIMIT_EXCEEDED",
      service: "api",
    });
    expect(refused.headers.get("ratelimit")).toBe(`"service";r=0;t=${seconds}`);
    expect(refused.headers.get("x-ratelimit-limit")).toBe("2");
    expect(refused.headers.get("x-ratelimit-remaining")).toBe("0");
    const reset = Number(refused.headers.get("x-ratelimit-reset")) - Date.now() / 1000;
    expect(reset).toBeGreaterThan(seconds - 2);
    expect(reset).toBeLessThan(seconds + 2);
    expect(upstream.requests).toHaveLength(2);
  });

  test("A rate limit is restored when its window ends", async () => {
    const { ask } = await start({ maxRequests: 1, windowMs: 1_000 });
    expect([(await ask()).status, (await ask()).status]).toEqual([200, 429]);
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    expect((await ask()).status).toBe(200);
  });

  test("All spellings, key positions, forwarded addresses and pipelined requests count in one bucket", async () => {
    const { gateway, ask } = await start({ maxRequests: 5, windowMs: 60_000, per: "ip" }, { PROXY_API_KEY: PROXY_KEY });
    const key = { "x-api-key": PROXY_KEY };
    await ask("", key);
    await ask("%61//b;x", { ...key, "x-forwarded-for": "9.9.9.9", "x-real-ip": "9.9.9.9" });
    await ask(`?api_key=${PROXY_KEY}`);
    await ask("", { authorization: `Bearer ${PROXY_KEY}` });
    const one = `GET /proxy/api/ HTTP/1.1\r\nHost: localhost\r\nx-api-key: ${PROXY_KEY}\r\n\r\n`;
    const pipelined = await rawRequest(gateway.port, one.repeat(3), { until: /429[\s\S]*429/ });
    expect(pipelined.text.match(/HTTP\/1\.1 \d{3}/g)).toEqual(["HTTP/1.1 200", "HTTP/1.1 429", "HTTP/1.1 429"]);
  });

  test("A request that was refused earlier does not count towards the rate limit", async () => {
    const { ask } = await start({ maxRequests: 1, windowMs: 60_000 }, { PROXY_API_KEY: PROXY_KEY });
    for (let i = 0; i < 5; i++) expect((await ask()).status).toBe(401);
    expect((await ask("%zz", { "x-api-key": PROXY_KEY })).status).toBe(400);
    expect((await ask("", { "x-api-key": PROXY_KEY })).status).toBe(200);
  });

  test("Concurrent requests never exceed the rate limit", async () => {
    const { upstream, ask } = await start({ maxRequests: 10, windowMs: 60_000 });
    const statuses = await Promise.all(Array.from({ length: 40 }, async () => (await ask()).status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(10);
    expect(upstream.requests).toHaveLength(10);
  });

  test("Reading the rate limit does not count towards it", async () => {
    const { gateway, ask } = await start({ maxRequests: 3, windowMs: 60_000 });
    const read = async () => (await fetch(`${gateway.url}/proxy/services/api/rate-limit`)).json();
    expect(await read()).toMatchObject({ service: "api", limit: 3, remaining: 3 });
    await ask();
    const { remaining, resetIn, resetTime } = (await read()) as {
      remaining: number;
      resetIn: number;
      resetTime: string;
    };
    expect(remaining).toBe(2);
    expect(resetIn).toBeGreaterThan(55);
    expect(Date.parse(resetTime)).toBeGreaterThan(Date.now());
    expect((await fetch(`${gateway.url}/proxy/services/nope/rate-limit`)).status).toBe(404);
    expect(await (await fetch(`${gateway.url}/proxy/services/echo/rate-limit`)).json()).toMatchObject({ limit: null });
  });
});
