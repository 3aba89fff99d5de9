/** The key check of the control plane's routes: for callers under /proxy, for operators under /manage. */

import type { IncomingMessage } from "node:http";
import type { MiddlewareHandler } from "hono";
import type { Caller, Callers, Plane } from "../callers/callers.ts";
import { type PresentedKeys, readPresentedKeys } from "../callers/presented-keys.ts";
import { callerOrRefusal } from "../callers/refuse-caller.ts";
import { GatewayError } from "../errors.ts";
import type { OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { ControlEnv } from "./parts.ts";

export interface CallerEnv extends ControlEnv {
  Variables: ControlEnv["Variables"] & { caller: Caller };
}

/** From the raw text, as the data plane reads it: both planes know the same forms of a key. */
export function presentedKeysOf({ url, rawHeaders }: Pick<IncomingMessage, "url" | "rawHeaders">): PresentedKeys {
  return readPresentedKeys(rawHeaders, url?.split("?").slice(1).join("?"));
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
    const caller = callerOrRefusal(plane, callers.authenticate(plane, presentedKeysOf(incoming)));
    if (caller instanceof GatewayError) throw caller;
    context.set("caller", caller);
    await next();
  };
}
