/** In a process of its own, because the files of the others may have loaded the client. */
import { createRequire } from "node:module";
import { expect, test } from "vitest";
import { startGateway } from "../support/gateway.ts";
import { hasRedis, startRedis } from "../support/redis-server.ts";

const loadedClients = () =>
  Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes("/@redis/client/"));

test("A gateway without REDIS_URL does not load the Redis client", async () => {
  const gateway = await startGateway();
  const ready = await (await fetch(`${gateway.url}/health/ready`)).json();
  expect(ready).toEqual({ status: "ready", reasons: [] });
  expect(loadedClients()).toEqual([]);
});

test.skipIf(!hasRedis)("A gateway with REDIS_URL loads it", async () => {
  const redis = await startRedis();
  await startGateway({ env: { REDIS_URL: redis.url } });
  await expect.poll(() => loadedClients().length, { timeout: 5_000 }).toBeGreaterThan(0);
});
