/** `/manage`: for operators. Every route requires the management key and refuses requests from web pages of other sites. */
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Audience, ControlPlane, ControlPlaneParts } from "../parts.ts";
import { type CallerEnv, requireCaller } from "../require-caller.ts";
import { findPageOfSharedOrigin } from "../shared-origin.ts";
import { addAuditRoute } from "./audit.ts";
import { addCacheRoutes } from "./cache.ts";
import { addCredentialRoute } from "./credential.ts";
import { addCredentialLoginRoutes } from "./credential-login.ts";
import { addDiagnosticsRoute } from "./diagnostics.ts";
import { addEventsRoute } from "./events.ts";
import { addExplainRoute } from "./explain.ts";
import { addKeyDebugRoute } from "./key-debug.ts";
import { addKeyRoutes } from "./keys.ts";
import { addQuotaRoute } from "./quota.ts";
import { requireJson } from "./read-json.ts";
import { addReloadRoute } from "./reload.ts";
import { addRequestsRoute } from "./requests.ts";
import { addResetRoutes } from "./resets.ts";
import { addRotationRoutes } from "./rotation.ts";
import { addServiceRoutes } from "./services.ts";
import { addTestServiceRoute } from "./test-service.ts";
import { addUsageRoute } from "./usage.ts";

export function addManageRoutes(app: ControlPlane, parts: ControlPlaneParts, audience: Audience): void {
  const { callers, findForeignPage } = parts;
  const routes = new OpenAPIHono<CallerEnv>();
  routes.use("*", async (context, next) => {
    const { incoming } = context.env;
    // Without a key, the guard of the open plane refuses pages of other origins, and more.
    const isOpen = !callers.isProtected("management");
    const refusal = isOpen ? findPageOfSharedOrigin(incoming, parts, audience) : findForeignPage(incoming);
    if (refusal !== undefined) throw refusal;
    await next();
  });
  routes.use("*", requireCaller("management", parts));
  routes.use("*", requireJson());
  addServiceRoutes(routes, parts);
  addKeyRoutes(routes, parts);
  addTestServiceRoute(routes, parts);
  addDiagnosticsRoute(routes, parts);
  addExplainRoute(routes, parts);
  addResetRoutes(routes, parts);
  addCacheRoutes(routes, parts);
  addCredentialRoute(routes, parts);
  addRotationRoutes(routes, parts);
  addCredentialLoginRoutes(routes, parts);
  addReloadRoute(routes, parts);
  addQuotaRoute(routes, parts);
  addUsageRoute(routes, parts);
  addAuditRoute(routes, parts);
  addRequestsRoute(routes, parts);
  addEventsRoute(routes, parts);
  addKeyDebugRoute(routes, parts);
  app.route("/manage", routes);
}
