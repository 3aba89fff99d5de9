/** Fairness of the upstream's quota between issued keys. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startQuotaUpstream } from "../support/quota-upstream.ts";

test("A key with many requests does not starve another one: their waiting requests alternate", async () => {
  const upstream = await startQuotaUpstream({ limit: 3, windowMs: 250, latencyMs: 1 });
  const gateway = await startGateway({
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY },
    services: { api: { baseUrl: upstream.url, quota: { mode: "hold", maxWaitMs: 9_000 } } },
  });
  const issue = async (name: string) =>
    (await manage(gateway, "POST", "/keys", { name, permissions: ["api:read"] })).body.key as string;
  const [greedy, modest] = [await issue("greedy"), await issue("modest")];
  const order: string[] = [];
  const ask = async (name: string, key: string) => {
    const { status } = await fetch(`${gateway.url}/proxy/api/x`, { headers: { "x-api-key": key } });
    order.push(`${name} ${status}`);
  };
  // The first response shows the quota to the gateway.
  await ask("greedy", greedy);
  const all = Array.from({ length: 12 }, () => ask("greedy", greedy));
  await eventually(() => order.length >= 2, "the first requests of the greedy key");
  await Promise.all([...all, ask("modest", modest), ask("modest", modest)]);
  expect(order.filter((each) => each === "modest 200")).toHaveLength(2);
  expect(order.lastIndexOf("modest 200"), order.join()).toBeLessThan(10);
  expect(upstream.counts.refused).toBe(0);
});
