/** The metrics that are read from each service when a client scrapes. */
import { expect, test } from "vitest";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import type { MeasuredService } from "../../src/telemetry/service-gauges.ts";

const IDLE: Omit<MeasuredService, "key" | "inFlight"> = {
  credentialRefusals: 0,
  credentialLife: undefined,
  credentialsResting: undefined,
  connections: undefined,
  breaker: undefined,
  retriesWithheld: 0,
  limitWaiting: undefined,
  cache: undefined,
  idempotency: undefined,
  tokens: [],
  quota: undefined,
};
const SAMPLE = { eventLoopDelay: 0, heapUsed: 0, rssBytes: 0, eventLoopUtilized: 0 };

test("A scrape measures each service once, and the next scrape measures it again", async () => {
  let measurements = 0;
  const metrics = createMetrics({
    *services() {
      measurements += 1;
      for (let i = 0; i < 1_000; i++) yield { ...IDLE, key: `s${i}`, inFlight: measurements };
    },
    listeners: () => [],
    openWebSockets: () => 0,
    inFlight: () => 0,
    isDraining: () => false,
    version: "1",
    pressure: () => ({ sample: SAMPLE, isUnderPressure: false }),
  });
  for (const scrape of [1, 2, 3]) {
    const text = await metrics.text();
    expect(text).toContain(`byteproxy_requests_in_flight{service="s0"} ${scrape}\n`);
    expect(text).toContain(`byteproxy_requests_in_flight{service="s999"} ${scrape}\n`);
    expect(measurements).toBe(scrape);
  }
});
