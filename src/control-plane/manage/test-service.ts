/** Looks at one service's upstream, now: reachable or not, and in which phase it failed. */
import type { Hono } from "hono";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

export function addTestServiceRoute(routes: Hono<CallerEnv>, { registry, probe }: ControlPlaneParts): void {
  routes.post("/services/:service/test", async (context) => {
    const key = context.req.param("service");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    context.header("Cache-Control", "no-store");
    return context.json(await probe(key));
  });
}
