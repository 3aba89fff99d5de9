/** The machine's clock is set an hour back or forward: no client is admitted or refused wrongly for longer than one window. */
import { afterEach, describe, expect, test } from "vitest";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { startUpstream } from "../support/upstream.ts";

const HOUR_MS = 3_600_000;
const realNow = Date.now;

/** The clock that the process sees from now on. */
function setClock(byMs: number): void {
  Date.now = () => realNow() + byMs;
}

afterEach(() => {
  Date.now = realNow;
});

async function ask(url: string, key?: string) {
  const response = await fetch(url, key === undefined ? {} : { headers: { "x-api-key": key } });
  await response.arrayBuffer();
  return response;
}

describe.each([
  ["back", -HOUR_MS],
  ["forward", HOUR_MS],
])("Clock set an hour %s", (_, step) => {
  test("A rate limit keeps its state, except for one window", async () => {
    const upstream = await startUpstream();
    const rateLimit = { maxRequests: 2, windowMs: 1_000 };
    const { url } = await startGateway({ services: { api: { baseUrl: upstream.url, rateLimit } } });
    const statuses = async (count: number) => {
      const all = [];
      for (let i = 0; i < count; i++) all.push((await ask(`${url}/proxy/api/`)).status);
      return all;
    };
    expect(await statuses(3)).toEqual([200, 200, 429]);
    setClock(step);
    // Set forward, the clock ends the window early, once.
    expect((await statuses(4)).filter((status) => status === 200)).toHaveLength(step < 0 ? 0 : 2);
    const refused = await ask(`${url}/proxy/api/`);
    expect(Number(refused.headers.get("retry-after"))).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1_050));
    expect(await statuses(3)).toEqual([200, 200, 429]);
  });

  test("No request waits for a quota longer than its window", async () => {
    const upstream = await startUpstream((_req, res) => {
      res.setHeader("X-RateLimit-Limit", "1");
      res.setHeader("X-RateLimit-Remaining", "0");
      res.setHeader("X-RateLimit-Reset-After", "1");
      res.end();
    });
    const quota = { mode: "hold", maxWaitMs: 5_000 } as const;
    const { url } = await startGateway({ services: { api: { baseUrl: upstream.url, quota } } });
    expect((await ask(`${url}/proxy/api/`)).status).toBe(200);
    setClock(step);
    const startedAt = performance.now();
    expect((await ask(`${url}/proxy/api/`)).status).toBe(200);
    expect(performance.now() - startedAt).toBeLessThan(4_000);
  });

  test("A lock-out stays, and ends within a minute", async () => {
    const { url } = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY } });
    for (let i = 0; i < 10; i++) await ask(`${url}/proxy/echo/`, `an-unknown-key-${i}`);
    setClock(step);
    const locked = await ask(`${url}/proxy/echo/`, "another-unknown-key");
    expect(locked.status).toBe(429);
    expect(Number(locked.headers.get("retry-after"))).toBeLessThanOrEqual(60);
  });
});
