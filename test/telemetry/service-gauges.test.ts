/** What is read off each service when somebody scrapes. */
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { addServiceGauges, type MeasuredService } from "../../src/telemetry/service-gauges.ts";

const IDLE: Omit<MeasuredService, "key" | "inFlight"> = {
  ...{ credentialRefusals: 0, connections: undefined, breaker: undefined, retriesWithheld: 0, quota: undefined },
};

test("a scrape measures the services once, however many gauges there are, and the next one anew", async () => {
  const registry = new Registry();
  let measurements = 0;
  function* measure() {
    measurements += 1;
    yield { ...IDLE, key: "api", inFlight: measurements };
  }
  addServiceGauges(measure, [registry]);
  for (const scrape of [1, 2, 3]) {
    expect(await registry.metrics()).toContain(`byteproxy_requests_in_flight{service="api"} ${scrape}\n`);
    expect(measurements).toBe(scrape);
  }
});
