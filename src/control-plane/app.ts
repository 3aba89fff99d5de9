/**
 * The control plane: everything that is not `/proxy/<service>`, as one Hono app.
 * Invariant: one guard, one error form; a handler only says what is true.
 */
import { type Context, Hono } from "hono";
import { methodNotAllowed } from "hono/method-not-allowed";
import { GatewayError } from "../errors.ts";
import { errorAnswer, errorResponse } from "../perimeter/error-answer.ts";
import { addHealthRoutes } from "./health.ts";
import { addManageRoutes } from "./manage/manage.ts";
import type { ControlEnv, ControlPlane, ControlPlaneParts } from "./parts.ts";
import { addProxyRoutes } from "./proxy-routes.ts";

export function createControlPlane(parts: ControlPlaneParts): ControlPlane {
  const { instance } = parts;
  const app: ControlPlane = new Hono<ControlEnv>();

  app.use(async (context, next) => {
    const { incoming } = context.env;
    context.set("requestId", instance.requestId(incoming));
    const loop = instance.findLoop(incoming.headers);
    if (loop !== undefined) throw loop;
    await next();
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

  addHealthRoutes(app, parts);
  addProxyRoutes(app, parts);
  addManageRoutes(app, parts);

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
  return errorResponse(errorAnswer(error, request, parts.logger.maskKeys), context.req.method);
}
