/** `/manage`: for operators. Behind the management key from the first route on. */

import { Hono } from "hono";
import { GatewayError } from "../../errors.ts";
import type { ControlPlane, ControlPlaneParts } from "../parts.ts";
import { type CallerEnv, requireCaller } from "../require-caller.ts";

export function addManageRoutes(app: ControlPlane, { callers, guardOpenManagementPlane }: ControlPlaneParts): void {
  const routes = new Hono<CallerEnv>();
  routes.use("*", requireCaller("management", callers, guardOpenManagementPlane));
  routes.all("*", () => {
    throw new GatewayError("NOT_FOUND", { message: "There is nothing at this path." });
  });
  app.route("/manage", routes);
}
