/** Rate limits that several gateways share over a real Redis. */
import { writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { ServiceInput } from "../../src/config/schema.ts";
import { countOf, startFleet } from "../support/fleet.ts";
import { startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { hasRedis, type RedisServer, startRedis } from "../support/redis-server.ts";
import { startUpstream } from "../support/upstream.ts";

type RateLimit = NonNullable<ServiceInput["rateLimit"]>;

async function callsOf(redis: RedisServer, command: string): Promise<number> {
  const stats = await redis.command("INFO", "commandstats");
  return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
}

async function start(rateLimit: RateLimit, count = 3) {
  const redis = await startRedis();
  const upstream = await startUpstream();
  const services = { api: { baseUrl: upstream.url, rateLimit }, free: { baseUrl: upstream.url } };
  const fleet = await startFleet({ url: redis.url, count, services });
  await fleet.connected();
  return { redis, upstream, fleet, first: fleet.gateways[0] as (typeof fleet.gateways)[number] };
}

describe.skipIf(!hasRedis)("A rate limit over three gateways", () => {
  test("Admits exactly its number of requests under load, and says so in the RateLimit fields", async () => {
    const { redis, upstream, fleet, first } = await start({ maxRequests: 100, windowMs: 60_000 });
    const statuses = await fleet.ask(60);
    expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([100, 80]);
    expect(upstream.requests).toHaveLength(100);
    const refused = await fetch(`${first.url}/proxy/api/`);
    expect(refused.status).toBe(429);
    expect(refused.headers.get("ratelimit-policy")).toBe('"service";q=100;w=60');
    expect(refused.headers.get("ratelimit")).toMatch(/^"service";r=0;t=\d+$/);
    expect(refused.headers.get("x-ratelimit-limit")).toBe("100");
    const seen = await (await fetch(`${first.url}/proxy/services/api/rate-limit`)).json();
    expect(seen).toMatchObject({ limit: 100, remaining: 0 });
    expect(await callsOf(redis, "incr")).toBe(181);

    expect((await manage(first, "POST", "/services/api/rate-limit/reset")).status).toBe(204);
    expect(countOf(await fleet.ask(40), 200)).toBe(100);
  });

  test("A service without a limit makes no call, and a limit of callers counts each address", async () => {
    const { redis, fleet } = await start({ maxRequests: 2, windowMs: 60_000, per: "ip" }, 2);
    expect(countOf(await fleet.ask(5, "free"), 200)).toBe(10);
    expect(await callsOf(redis, "incr")).toBe(0);
    expect(countOf(await fleet.ask(5), 200)).toBe(2);
    expect(await redis.command("EXISTS", "byteproxy:limit:service:api:ip:2:60000:127.0.0.1")).toBe("1");
  });

  test("Requests that wait for a limit are sent in the windows of all gateways", async () => {
    const { upstream, fleet } = await start({ maxRequests: 3, windowMs: 1_000, onLimit: "wait" }, 2);
    expect(countOf(await fleet.ask(3), 200)).toBe(6);
    expect(upstream.requests).toHaveLength(6);
  });
});

describe.skipIf(!hasRedis)("A request with several limits", () => {
  test("Is counted in one call for its key and its service, and not for the service once the key is exceeded", async () => {
    const { redis, fleet, first } = await start({ maxRequests: 100, windowMs: 60_000 }, 1);
    const { body } = await manage(first, "POST", "/keys", {
      name: "limited",
      permissions: ["api:*"],
      rateLimit: { maxRequests: 10, windowMs: 60_000 },
    });
    const before = await callsOf(redis, "evalsha");
    const statuses = await fleet.ask(15, "api", { "x-api-key": body.key });
    expect([countOf(statuses, 200), countOf(statuses, 429)]).toEqual([10, 5]);
    expect(await callsOf(redis, "incr")).toBe(25);
    // And a heartbeat each second.
    expect((await callsOf(redis, "evalsha")) - before).toBeLessThan(15 + 5);
    expect(await redis.command("GET", "byteproxy:limit:service:api:service:100:60000:")).toMatch(/10$/);
  });

  test("Waits for the limit of the service with the point of its key spent once", async () => {
    const { redis, fleet, first } = await start({ maxRequests: 2, windowMs: 1_000, onLimit: "wait" }, 1);
    const { body } = await manage(first, "POST", "/keys", {
      name: "limited",
      permissions: ["api:*"],
      rateLimit: { maxRequests: 10, windowMs: 60_000 },
    });
    expect(countOf(await fleet.ask(4, "api", { "x-api-key": body.key }), 200)).toBe(4);
    expect(await redis.command("GET", `byteproxy:limit:key:${body.id}:caller:10:60000:${body.id}`)).toMatch(/4$/);
  });
});

test.skipIf(!hasRedis)("A change of REDIS_URL needs a restart, and a reload says so", async () => {
  const redis = await startRedis();
  const gateway = await startGateway({
    files: { ".env": `REDIS_URL=redis://:first-secret@127.0.0.1:${redis.port}\n` },
  });
  writeFileSync(`${gateway.directory}/.env`, `REDIS_URL=redis://:other-secret@127.0.0.1:${redis.port}\n`);
  expect(await gateway.reload()).toMatchObject({ isDone: true, needsRestart: ["REDIS_URL"] });
});
