/** Begins the counts of one service's own limit anew, for all its callers. */
import type { Hono } from "hono";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { authorOf } from "./author.ts";

export function addResetRateLimitRoute(routes: Hono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.post("/services/:service/rate-limit/reset", async (context) => {
    const key = context.req.param("service");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    loadOf(key).limiter?.reset();
    await audit.record(authorOf(context, parts), { action: "rate-limit.reset", subject: key });
    return context.body(null, 204);
  });
}
