/**
 * Keeps web pages from reading what needs no key, by a name of theirs that leads to this machine (DNS rebinding).
 * On while the listener is on loopback, also where keys are set.
 */
import type { MiddlewareHandler } from "hono";
import { GatewayError } from "../errors.ts";
import type { Audience, ControlEnv } from "./parts.ts";

export function requireKnownHost({ hosts }: Audience): MiddlewareHandler<ControlEnv> {
  return async (context, next) => {
    if (hosts !== undefined && !hosts.has(context.env.incoming.headers.host)) {
      throw new GatewayError("HOST_NOT_ALLOWED", {
        message: "This route answers only to the host names in ALLOWED_HOSTS.",
        hint: "Add the name to ALLOWED_HOSTS.",
      });
    }
    await next();
  };
}
