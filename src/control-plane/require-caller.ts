/** The key check of the control plane's routes: for callers under /proxy, for operators under /manage. */

import type { Context, MiddlewareHandler } from "hono";
import type { Caller } from "../callers/callers.ts";
import { decideAddress, decideManagePermission } from "../callers/decide-permission.ts";
import type { ManagePart } from "../callers/permissions.ts";
import { presentedKeysOf } from "../callers/presented-keys.ts";
import type { Plane } from "../callers/unauthenticated.ts";
import { GatewayError } from "../errors.ts";
import type { ControlEnv, ControlPlaneParts } from "./parts.ts";

export interface CallerEnv extends ControlEnv {
  Variables: ControlEnv["Variables"] & { caller: Caller };
}

export function requireCaller(plane: Plane, parts: ControlPlaneParts): MiddlewareHandler<CallerEnv> {
  const { callers, clients, keyUsage, keyRefusals } = parts;
  const guardOpenPlane = plane === "proxy" ? parts.guardOpenProxyPlane : parts.guardOpenManagementPlane;
  return async (context, next) => {
    const { incoming } = context.env;
    if (!callers.isProtected(plane)) {
      const refusal = guardOpenPlane(incoming.headers);
      if (refusal !== undefined) throw refusal;
    }
    const address = clients.addressOf(incoming);
    const caller = callers.authenticate({ plane, presented: presentedKeysOf(incoming), address });
    if (caller instanceof GatewayError) throw caller;
    const refusal =
      decideAddress(caller, address) ?? (plane === "management" ? decidePart(caller, context) : undefined);
    const { issued } = caller;
    if (refusal !== undefined) {
      if (issued !== undefined) keyRefusals.noteError(issued.id, refusal);
      throw refusal;
    }
    if (issued !== undefined) keyUsage.note(issued.id, Date.now());
    context.set("caller", caller);
    await next();
  };
}

/** By the path that routes are found by, however it was spelt. */
function decidePart(caller: Caller, { req }: Context<CallerEnv>): GatewayError | undefined {
  return decideManagePermission(caller, partsFor(req.method, req.path));
}

/** Permissions, any one of which opens a route: what only looks is open to `manage:read`, too. */
function partsFor(method: string, path: string): readonly ManagePart[] {
  if (path === "/manage/explain") return ["read", "services"];
  const [, room] = /^\/manage\/(keys|services)(?:\/|$)/.exec(path) ?? [];
  if (method !== "GET" && method !== "HEAD") return [room === "keys" ? "keys" : "services"];
  return room === undefined ? ["read"] : ["read", room as ManagePart];
}
