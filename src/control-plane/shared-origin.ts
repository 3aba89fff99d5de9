/**
 * In a browser the pages of upstreams and those of the gateway have one origin while one listener serves both.
 * Invariant: what only a page of the gateway's own origin could do, no page of an upstream can do, even one that is not isolated.
 */
import type { IncomingMessage } from "node:http";
import type { MiddlewareHandler } from "hono";
import { GatewayError } from "../errors.ts";
import type { Audience, ControlEnv, ControlPlaneParts } from "./parts.ts";

/** Where this process serves pages of an upstream as they are, on this listener. */
function servesForeignPages({ registry }: Pick<ControlPlaneParts, "registry">, { callers }: Audience): boolean {
  return callers && registry.list().some(({ webContent }) => webContent === "pass");
}

/** Refuses the gateway's own pages, where a page of an upstream could read the key that a user types into them. */
export function requireOriginOfItsOwn(parts: ControlPlaneParts, audience: Audience): MiddlewareHandler<ControlEnv> {
  return async (_, next) => {
    if (servesForeignPages(parts, audience)) {
      throw new GatewayError("NOT_FOUND", {
        message: "This page is served on MANAGEMENT_PORT only, because a service has `webContent: pass`.",
        hint: "Set MANAGEMENT_PORT and open the page there.",
      });
    }
    await next();
  };
}

/**
 * Without a key, a page of the gateway's origin may read but not change the gateway, and nothing at all where pages of an upstream are not
 * isolated.
 */
export function findPageOfSharedOrigin(
  { method, headers }: Pick<IncomingMessage, "method" | "headers">,
  parts: Pick<ControlPlaneParts, "registry">,
  audience: Audience,
): GatewayError | undefined {
  const { origin, host } = headers;
  const isPage =
    origin === `http://${host}` || origin === `https://${host}` || headers["sec-fetch-site"] === "same-origin";
  if (!audience.callers || !isPage) return undefined;
  const changesNothing = method === "GET" || method === "HEAD";
  if (changesNothing && !servesForeignPages(parts, audience)) return undefined;
  return new GatewayError("ORIGIN_NOT_ALLOWED", {
    message:
      "A page of the gateway's own origin sent the request, which may be a page of an upstream, and no key is set.",
    hint: "Set MANAGEMENT_API_KEY, or MANAGEMENT_PORT, or send the request from a program such as curl.",
  });
}
