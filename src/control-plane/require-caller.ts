/** The key check of the control plane's routes: for callers under /proxy, for operators under /manage. */

import type { MiddlewareHandler } from "hono";
import type { Caller, Callers, Plane } from "../callers/callers.ts";
import { decideManagePermission } from "../callers/decide-issued.ts";
import type { ManagePart } from "../callers/permissions.ts";
import { presentedKeysOf } from "../callers/presented-keys.ts";
import { authenticateOrRefuse } from "../callers/refuse-caller.ts";
import { GatewayError } from "../errors.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { ControlEnv } from "./parts.ts";

export interface CallerEnv extends ControlEnv {
  Variables: ControlEnv["Variables"] & { caller: Caller };
}

export function requireCaller(
  plane: Plane,
  callers: Callers,
  guardOpenPlane: OpenPlaneGuard,
  clients: Pick<ClientView, "addressOf">,
): MiddlewareHandler<CallerEnv> {
  return async (context, next) => {
    const { incoming } = context.env;
    if (!callers.isProtected(plane)) {
      const refusal = guardOpenPlane(incoming.headers);
      if (refusal !== undefined) throw refusal;
    }
    const caller = authenticateOrRefuse(plane, callers, presentedKeysOf(incoming), clients.addressOf(incoming));
    if (caller instanceof GatewayError) throw caller;
    const { method, url = "" } = incoming;
    if (plane === "management") {
      const refusal = decideManagePermission(caller, partsFor(method ?? "", url), clients.addressOf(incoming));
      if (refusal !== undefined) throw refusal;
    }
    context.set("caller", caller);
    await next();
  };
}

/** Permissions, any one of which opens a route: what only looks is open to `manage:read`, too. */
function partsFor(method: string, url: string): readonly ManagePart[] {
  const change: ManagePart = /^\/manage\/keys(?:[/?]|$)/.test(url) ? "keys" : "services";
  if (url === "/manage/explain") return ["read", "services"];
  return method === "GET" || method === "HEAD" ? [change, "read"] : [change];
}
