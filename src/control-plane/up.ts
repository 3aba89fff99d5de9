/** How hard the process works, and whether it sheds: for balancers that choose by load, and for people. */
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

export function addUpRoute(app: ControlPlane, { monitor, retryAfterS }: ControlPlaneParts): void {
  app.get("/up", (context) => {
    const { sample, pressure } = monitor;
    const healthy = pressure === undefined;
    if (!healthy) context.header("Retry-After", String(retryAfterS));
    return context.json(
      {
        status: healthy ? "ok" : "under pressure",
        eventLoopDelay: Number(sample.eventLoopDelay.toFixed(3)),
        heapUsed: sample.heapUsed,
        rssBytes: sample.rssBytes,
        eventLoopUtilized: Number(sample.eventLoopUtilized.toFixed(6)),
        healthy,
        ...(healthy ? {} : { pressure }),
      },
      healthy ? 200 : 503,
    );
  });
}
