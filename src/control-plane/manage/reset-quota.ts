/** Forgets what the answers of one service's upstream told of its limits: for an upstream that told nonsense. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";
import { authorOf } from "./author.ts";

const route = createRoute({
  method: "post",
  path: "/services/{key}/quota/reset",
  operationId: "resetQuota",
  summary: "Forgets what its upstream told of its limits",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: { 204: { description: "Done; also where nothing is known. Who waits already waits on." } },
});

export function addResetQuotaRoute(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.openapi(route, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    await loadOf(key).quota?.reset();
    await audit.record(authorOf(context, parts), { action: "quota.reset", subject: key });
    return context.body(null, 204);
  });
}
