/**
 * The control plane: everything that is not `/proxy/<service>`, as one Hono app.
 * Invariant: one guard, one error form; a handler only says what is true.
 */
import { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { methodNotAllowed } from "hono/method-not-allowed";
import { GatewayError } from "../errors.ts";
import { errorResponse, toFetchResponse } from "../perimeter/refusals.ts";
import { addAuthStatusRoute } from "./auth-status.ts";
import { addDocsPage } from "./docs/docs-page.ts";
import { addHealthRoutes } from "./health.ts";
import { addManageRoutes } from "./manage/manage.ts";
import { addMetricsRoute } from "./metrics.ts";
import { addDocumentRoute } from "./openapi/document.ts";
import type { Audience, ControlEnv, ControlPlane, ControlPlaneParts } from "./parts.ts";
import { addProxyRoutes } from "./proxy-routes.ts";
import { refuseInvalid } from "./refuse-invalid.ts";
import { requireKnownHost } from "./require-known-host.ts";
import { addStatusRoute } from "./status.ts";
import { addUpRoute } from "./up.ts";

/** They tell of what is configured, without a key. */
const HOST_GUARDED = ["/status", "/metrics", "/docs", "/docs/*", "/openapi.json"];

export function createControlPlane(parts: ControlPlaneParts, audience: Audience): ControlPlane {
  const { instance, cors } = parts;
  const app: ControlPlane = new OpenAPIHono<ControlEnv>({ defaultHook: refuseInvalid });

  app.use(async (context, next) => {
    const { incoming } = context.env;
    context.set("requestId", instance.requestId(incoming));
    if (incoming.headers.origin !== undefined) cors.remember(incoming.headers);
    const verdict = instance.findLoop(incoming.headers) ?? cors.decidePreflight(incoming, undefined);
    if (verdict instanceof GatewayError) context.res = answer(context, parts, verdict);
    else if (verdict !== undefined) context.res = new Response(null, { status: 204, headers: pairsOf(verdict) });
    else await next();
    // A preflight's own say more than these.
    if (!Array.isArray(verdict))
      for (const [name, value] of pairsOf(cors.headersOf(incoming.headers))) context.header(name, value);
    context.header("X-Proxy-Request-Id", context.get("requestId"));
    context.header("X-Content-Type-Options", "nosniff");
    if (instance.isDraining || incoming.headers.upgrade !== undefined) context.header("Connection", "close");
  });
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (context, allowed) => {
        // Hono copies the headers of the answer that is replaced, here those of a 404.
        context.res = undefined;
        return answer(context, parts, refuseMethod(context.req.method, allowed));
      },
    }),
  );

  addHealthRoutes(app, parts, audience);
  addUpRoute(app, parts);
  addAuthStatusRoute(app, parts);
  if (audience.callers) addProxyRoutes(app, parts);
  if (audience.operators) {
    for (const path of HOST_GUARDED) app.use(path, requireKnownHost(audience));
    addStatusRoute(app, parts);
    addMetricsRoute(app, parts);
    addManageRoutes(app, parts);
    addDocsPage(app);
    addDocumentRoute(app, () => (audience.callers ? app : createControlPlane(parts, { ...audience, callers: true })));
  }

  app.notFound((context) =>
    answer(context, parts, new GatewayError("NOT_FOUND", { message: "There is nothing at this path." })),
  );
  app.onError((thrown, context) => {
    const error = GatewayError.from(thrown);
    if (error.code === "INTERNAL_ERROR") {
      parts.logger.error({ requestId: context.get("requestId"), err: error.cause }, "internal error");
    }
    return answer(context, parts, error);
  });
  return app;
}

function pairsOf(flat: readonly string[]): [name: string, value: string][] {
  return flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as [string, string]] : []));
}

function refuseMethod(method: string, allowed: readonly string[]): GatewayError {
  const list = allowed.join(", ");
  return new GatewayError("METHOD_NOT_ALLOWED", {
    message: `${method} is not offered here; ${list} is.`,
    headers: ["Allow", list],
  });
}

function answer(context: Context<ControlEnv>, parts: ControlPlaneParts, error: GatewayError): Response {
  const { incoming } = context.env;
  const request = { requestId: context.get("requestId"), path: incoming.url?.split("?", 1)[0] };
  return toFetchResponse(errorResponse(error, request, parts.logger.maskKeys), context.req.method);
}
