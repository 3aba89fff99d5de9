/** The Prometheus text. Open to whoever reaches the address, as scrapers expect; it holds no secret and no path. */
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

export function addMetricsRoute(app: ControlPlane, { metrics }: ControlPlaneParts): void {
  app.get("/metrics", async (context) =>
    context.body(await metrics.text(), 200, { "Content-Type": metrics.contentType, "Cache-Control": "no-store" }),
  );
}
