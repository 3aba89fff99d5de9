/** The metrics for Prometheus. No key is needed, as scrapers expect. They contain no secret and no path. */
import { createRoute, z } from "@hono/zod-openapi";
import { forEveryone, NO_STORE } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

const route = createRoute({
  method: "get",
  path: "/metrics",
  operationId: "getMetrics",
  summary: "Metrics for Prometheus",
  ...forEveryone("Status", "HOST_NOT_ALLOWED"),
  responses: {
    200: {
      description: "The text format, version 0.0.4. Names begin with `byteproxy_`.",
      headers: NO_STORE,
      content: { "text/plain": { schema: z.string(), example: "byteproxy_websockets_open 0\n" } },
    },
  },
});

export function addMetricsRoute(app: ControlPlane, { metrics }: ControlPlaneParts): void {
  app.openapi(route, async (context) =>
    context.text(await metrics.text(), 200, { "Content-Type": metrics.contentType, "Cache-Control": "no-store" }),
  );
}
