/** The key check of the control plane: for callers under /proxy, for operators under /manage. */
import type { IncomingMessage } from "node:http";
import type { Context, MiddlewareHandler } from "hono";
import type { Author } from "../callers/audit.ts";
import type { Caller } from "../callers/callers.ts";
import type { PeerSocket } from "../callers/client-certificate.ts";
import { decideManagePermission, decideSender } from "../callers/decide-permission.ts";
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
      const refusal = guardOpenPlane(incoming);
      if (refusal !== undefined) throw refusal;
    }
    const address = clients.addressOf(incoming);
    const presented = presentedKeysOf(incoming);
    const verdicts = await callers.verifyTokens({ plane, presented, address, request: incoming });
    const caller = callers.authenticate({ plane, presented, address, request: incoming, verdicts });
    if (caller instanceof GatewayError) throw caller;
    const refusal =
      decideSender(caller, address, socketOf(incoming)) ??
      (plane === "management" ? decidePart(caller, context) : undefined);
    const { issued } = caller;
    if (refusal !== undefined) {
      if (issued !== undefined) keyRefusals.noteError(issued.id, refusal);
      throw refusal;
    }
    if (issued !== undefined && issued.isToken === undefined) keyUsage.note(issued.id, Date.now());
    context.set("caller", caller);
    await next();
  };
}

/** Whether this request for a route that only reads would be admitted now: its key may have ended since, or lost a permission. */
export function createReadCheck(context: Context<CallerEnv>, parts: ControlPlaneParts): () => boolean {
  const { incoming } = context.env;
  const address = parts.clients.addressOf(incoming);
  const presentation = {
    plane: "management",
    presented: presentedKeysOf(incoming),
    address,
    request: incoming,
  } as const;
  return () => {
    const caller = parts.decideForCurrentKeys(presentation);
    if (caller instanceof GatewayError) return false;
    return (
      (decideSender(caller, address, socketOf(incoming)) ?? decideManagePermission(caller, ["read"])) === undefined
    );
  };
}

/** With TLS it shows the client's certificate. */
export const socketOf = ({ socket }: Pick<IncomingMessage, "socket">) => socket as PeerSocket;

/** The author of a change, for the audit log. */
export function authorOf(context: Context<CallerEnv>, { clients }: Pick<ControlPlaneParts, "clients">): Author {
  const { id: caller, issued } = context.get("caller");
  return {
    caller,
    issued,
    address: clients.addressOf(context.env.incoming),
    requestId: context.get("requestId"),
  };
}

/** Uses the path that Hono routes by, so that another spelling of a path needs the same permission. */
function decidePart(caller: Caller, { req }: Context<CallerEnv>): GatewayError | undefined {
  return decideManagePermission(caller, partsFor(req.method, req.path));
}

/** Parts of /manage. A permission for any one of them is enough; `read` covers all routes that change nothing. */
function partsFor(method: string, path: string): readonly ManagePart[] {
  if (path === "/manage/explain") return ["read", "services"];
  const [, part] = /^\/manage\/(keys|services)(?:\/|$)/.exec(path) ?? [];
  if (method !== "GET" && method !== "HEAD") return [part === "keys" ? "keys" : "services"];
  return part === undefined ? ["read"] : ["read", part as ManagePart];
}
