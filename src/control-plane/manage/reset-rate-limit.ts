/** Begins the counts of one service's own limit anew, for all its callers. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { authorOf } from "./author.ts";

const route = createRoute({
  method: "post",
  path: "/services/{key}/rate-limit/reset",
  operationId: "resetRateLimit",
  summary: "Begins the counts of its limit anew",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: { 204: { description: "Done; also where there is no limit." } },
});

export function addResetRateLimitRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.openapi(route, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    loadOf(key).limiter?.reset();
    await audit.record(authorOf(context, parts), { action: "rate-limit.reset", subject: key });
    return context.body(null, 204);
  });
}
