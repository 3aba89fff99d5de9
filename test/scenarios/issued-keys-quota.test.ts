/** The upstream's quota between issued keys: one that asks for all of it leaves the others their share. */
import { expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { MANAGEMENT_KEY, PROXY_KEY, startGateway } from "../support/gateway.ts";
import { manage } from "../support/manage.ts";
import { startQuotaUpstream } from "../support/quota-upstream.ts";

test("a greedy key does not starve another: what waits is let go by turns, whoever came first", async () => {
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
  // The gateway learns of the quota by the first.
  await ask("greedy", greedy);
  const all = Array.from({ length: 12 }, () => ask("greedy", greedy));
  await eventually(() => order.length >= 2, "the first of the greedy ones");
  await Promise.all([...all, ask("modest", modest), ask("modest", modest)]);
  expect(order.filter((each) => each === "modest 200")).toHaveLength(2);
  expect(order.lastIndexOf("modest 200"), order.join()).toBeLessThan(10);
  expect(upstream.counts.refused).toBe(0);
});
