/** Begins the counts of one service's own limit anew, for all its callers. */
import type { Hono } from "hono";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

export function addResetRateLimitRoute(routes: Hono<CallerEnv>, { registry, loadOf, logger }: ControlPlaneParts): void {
  routes.post("/services/:service/rate-limit/reset", (context) => {
    const key = context.req.param("service");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    loadOf(key).limiter?.reset();
    logger.info(
      { requestId: context.get("requestId"), caller: context.get("caller").id, service: key },
      "the rate limit was reset",
    );
    return context.body(null, 204);
  });
}
