/** `/manage`: for operators. Behind the management key from the first route on. */
import { Hono } from "hono";
import type { ControlPlane, ControlPlaneParts } from "../parts.ts";
import { type CallerEnv, requireCaller } from "../require-caller.ts";
import { addReloadRoute } from "./reload.ts";
import { addResetRateLimitRoute } from "./reset-rate-limit.ts";

export function addManageRoutes(app: ControlPlane, parts: ControlPlaneParts): void {
  const { callers, guardOpenManagementPlane } = parts;
  const routes = new Hono<CallerEnv>();
  routes.use("*", requireCaller("management", callers, guardOpenManagementPlane));
  addReloadRoute(routes, parts);
  addResetRateLimitRoute(routes, parts);
  app.route("/manage", routes);
}
