/** `DELETE /manage/cache` and `/manage/cache/{key}`: stored responses are dropped, of all services or of one. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";

const clearAll = createRoute({
  method: "delete",
  path: "/cache",
  operationId: "clearCaches",
  summary: "Drop the stored responses of all services",
  description: "Responses that are arriving now are not stored either.",
  ...forOperators("Services"),
  responses: { 204: { description: "No response from before is served any more." } },
});

const clearOne = createRoute({
  method: "delete",
  path: "/cache/{key}",
  operationId: "clearCache",
  summary: "Drop the stored responses of a service",
  description: "Responses that are arriving now are not stored either.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: { 204: { description: "No response from before is served any more, or the service has no cache." } },
});

export function addCacheRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.openapi(clearAll, async (context) => {
    for (const { key } of registry.list()) loadOf(key).cache?.clear();
    await audit.record(authorOf(context, parts), { action: "cache.clear" });
    return context.body(null, 204);
  });
  routes.openapi(clearOne, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    loadOf(key).cache?.clear();
    await audit.record(authorOf(context, parts), { action: "cache.clear", subject: key });
    return context.body(null, 204);
  });
}
