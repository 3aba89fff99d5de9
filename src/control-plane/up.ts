/** The load of the process, and whether it refuses requests because of it. Load balancers can use it. */
import { createRoute, z } from "@hono/zod-openapi";
import { forEveryone, header, json } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

/** A gauge above its threshold. */
export const Pressure = z
  .strictObject({
    gauge: z.enum(["eventLoopDelay", "heapUsed", "rssBytes", "eventLoopUtilized"]),
    value: z.number(),
    limit: z.number(),
    setting: z.string().describe("the variable that holds the threshold"),
  })
  .openapi("Pressure");

const gauges = {
  eventLoopDelay: z.number().min(0).describe("mean over the sample interval, in ms"),
  heapUsed: z.int().describe("bytes"),
  rssBytes: z.int(),
  eventLoopUtilized: z.number().min(0).describe("share of the interval in which the event loop was busy"),
};
const EXAMPLE = { eventLoopDelay: 0.112, heapUsed: 21_358_416, rssBytes: 98_426_880, eventLoopUtilized: 0.004213 };

const route = createRoute({
  method: "get",
  path: "/up",
  operationId: "getLoad",
  summary: "The load of the process",
  ...forEveryone("Health"),
  responses: {
    200: json(
      "The gateway accepts requests.",
      z.strictObject({ status: z.literal("ok"), ...gauges, healthy: z.literal(true) }),
      {
        status: "ok",
        ...EXAMPLE,
        healthy: true,
      },
    ),
    503: json(
      "The gateway refuses proxied requests. `pressure` is the gauge above its threshold.",
      z.strictObject({ status: z.literal("under pressure"), ...gauges, healthy: z.literal(false), pressure: Pressure }),
      {
        status: "under pressure",
        ...EXAMPLE,
        eventLoopDelay: 312.4,
        healthy: false,
        pressure: {
          gauge: "eventLoopDelay",
          value: 312.4,
          limit: 250,
          setting: "PRESSURE_MAX_EVENT_LOOP_DELAY",
        },
      },
      { "Retry-After": header("Seconds.", true, "integer") },
    ),
  },
});

export function addUpRoute(app: ControlPlane, { monitor, retryAfterS }: ControlPlaneParts): void {
  app.openapi(route, (context) => {
    const { sample, pressure } = monitor;
    const gauges = {
      eventLoopDelay: Number(sample.eventLoopDelay.toFixed(3)),
      heapUsed: sample.heapUsed,
      rssBytes: sample.rssBytes,
      eventLoopUtilized: Number(sample.eventLoopUtilized.toFixed(6)),
    };
    if (pressure === undefined) return context.json({ status: "ok" as const, ...gauges, healthy: true as const }, 200);
    context.header("Retry-After", String(retryAfterS));
    return context.json({ status: "under pressure" as const, ...gauges, healthy: false as const, pressure }, 503);
  });
}
