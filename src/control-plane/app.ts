/**
 * The control plane: one Hono app for every route except `/proxy/<service>/…`.
 * Invariant: all routes share one key check and one form of error response.
 */
import { type Hook, OpenAPIHono } from "@hono/zod-openapi";
import type { Context, MiddlewareHandler } from "hono";
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
import { requireOriginOfItsOwn } from "./shared-origin.ts";
import { addStatusRoute } from "./status.ts";
import { addUpRoute } from "./up.ts";

/** Routes that show parts of the configuration without a key. */
const HOST_GUARDED = ["/status", "/metrics", "/docs", "/docs/*", "/openapi.json"];

/** Of all responses but the page's: no browser frames them or runs anything in them. */
const INERT = "default-src 'none'; frame-ancestors 'none'";

export function createControlPlane(parts: ControlPlaneParts, audience: Audience): ControlPlane {
  const app: ControlPlane = new OpenAPIHono<ControlEnv>({ defaultHook: refuseInvalid, strict: false });
  app.use(frameEachResponse(parts));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (context, allowed) => {
        // Hono would copy the headers of the 404 that this response replaces.
        context.res = undefined;
        return respondWithError(context, parts, refuseMethod(context.req.method, allowed));
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
    addManageRoutes(app, parts, audience);
    for (const path of ["/docs", "/docs/*"]) app.use(path, requireOriginOfItsOwn(parts, audience));
    addDocsPage(app);
    addDocumentRoute(app, () => (audience.callers ? app : createControlPlane(parts, { ...audience, callers: true })));
  }

  app.notFound((context) =>
    respondWithError(context, parts, new GatewayError("NOT_FOUND", { message: "There is no route at this path." })),
  );
  app.onError((thrown, context) => {
    const error = GatewayError.from(thrown);
    if (error.code === "INTERNAL_ERROR") {
      parts.logger.error({ requestId: context.get("requestId"), err: error.cause }, "internal error");
    }
    return respondWithError(context, parts, error);
  });
  return app;
}

/** Refuses loops, responds to preflights, and adds the headers that every response has. */
function frameEachResponse(parts: ControlPlaneParts): MiddlewareHandler<ControlEnv> {
  const { instance, cors } = parts;
  return async (context, next) => {
    const { incoming } = context.env;
    context.set("requestId", instance.requestId(incoming));
    if (incoming.headers.origin !== undefined) cors.remember(incoming.headers);
    const verdict = instance.findLoop(incoming.headers) ?? cors.decidePreflight(incoming);
    if (verdict instanceof GatewayError) context.res = respondWithError(context, parts, verdict);
    else if (verdict !== undefined) context.res = new Response(null, { status: 204, headers: pairsOf(verdict) });
    else await next();
    // The response to a preflight has its own, more specific CORS headers.
    if (!Array.isArray(verdict)) {
      for (const [name, value] of pairsOf(cors.headersOf(incoming.headers))) context.header(name, value);
    }
    context.header("X-Proxy-Request-Id", context.get("requestId"));
    context.header("X-Content-Type-Options", "nosniff");
    if (!context.res.headers.has("Content-Security-Policy")) context.header("Content-Security-Policy", INERT);
    if (instance.isDraining || incoming.headers.upgrade !== undefined) context.header("Connection", "close");
  };
}

/**
 * Stops web pages that reach a loopback listener through a host name of their own (DNS rebinding).
 * It applies with and without keys, because the guarded routes need none.
 */
function requireKnownHost({ hosts }: Audience): MiddlewareHandler<ControlEnv> {
  return async (context, next) => {
    if (hosts !== undefined && !hosts.has(context.env.incoming.headers.host)) {
      throw new GatewayError("HOST_NOT_ALLOWED", {
        message: "The host name in this request is not in ALLOWED_HOSTS.",
        hint: "Add the host name to ALLOWED_HOSTS.",
      });
    }
    await next();
  };
}

/** The messages of the schemas say what is allowed. @throws GatewayError VALIDATION_ERROR */
const refuseInvalid: Hook<unknown, ControlEnv, string, undefined> = (result) => {
  if (result.success) return undefined;
  const details: Record<string, string[]> = {};
  for (const { path, message } of result.error.issues) {
    const field = path.join(".");
    details[field] = [...(details[field] ?? []), `allowed: ${message}`];
  }
  const sentences = Object.entries(details).map(([field, texts]) => `${field} is not valid, ${texts.join(", ")}.`);
  throw new GatewayError("VALIDATION_ERROR", { message: sentences.join(" "), extra: { details } });
};

function pairsOf(flat: readonly string[]): [name: string, value: string][] {
  return flat.flatMap((name, i) => (i % 2 === 0 ? [[name, flat[i + 1] as string] as [string, string]] : []));
}

function refuseMethod(method: string, allowed: readonly string[]): GatewayError {
  const list = allowed.join(", ");
  return new GatewayError("METHOD_NOT_ALLOWED", {
    message: `This route does not support ${method}. It supports ${list}.`,
    headers: ["Allow", list],
  });
}

function respondWithError(context: Context<ControlEnv>, parts: ControlPlaneParts, error: GatewayError): Response {
  const { incoming } = context.env;
  const contentType = incoming.headers["content-type"];
  const request = { requestId: context.get("requestId"), path: incoming.url?.split("?", 1)[0], contentType };
  return toFetchResponse(errorResponse(error, request, parts.logger.maskKeys), context.req.method);
}
