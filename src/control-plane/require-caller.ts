/** The key check of the control plane's routes: for callers under /proxy, for operators under /manage. */

import type { MiddlewareHandler } from "hono";
import type { Caller, Callers, Plane } from "../callers/callers.ts";
import { presentedKeysOf } from "../callers/presented-keys.ts";
import { authenticateOrRefuse } from "../callers/refuse-caller.ts";
import { GatewayError } from "../errors.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { ControlEnv } from "./parts.ts";

export interface CallerEnv extends ControlEnv {
  Variables: ControlEnv["Variables"] & { caller: Caller };
}

export function requireCaller(
  plane: Plane,
  callers: Callers,
  guardOpenPlane: OpenPlaneGuard,
): MiddlewareHandler<CallerEnv> {
  return async (context, next) => {
    const { incoming } = context.env;
    if (!callers.isProtected(plane)) {
      const refusal = guardOpenPlane(incoming.headers);
      if (refusal !== undefined) throw refusal;
    }
    const caller = authenticateOrRefuse(plane, callers, presentedKeysOf(incoming));
    if (caller instanceof GatewayError) throw caller;
    context.set("caller", caller);
    await next();
  };
}
