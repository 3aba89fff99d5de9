/** `POST /manage/services/{key}/rate-limit/reset` and `…/quota/reset`: the counts of one service start again. */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";
import { GatewayError } from "../../errors.ts";
import { StoreUnavailable } from "../../stores/store-fault.ts";
import { forOperators, KEY_IN_PATH } from "../openapi/operations.ts";
import type { ControlPlaneParts, ServiceLoad } from "../parts.ts";
import { authorOf, type CallerEnv } from "../require-caller.ts";

const resetRateLimit = createRoute({
  method: "post",
  path: "/services/{key}/rate-limit/reset",
  operationId: "resetRateLimit",
  summary: "Reset the gateway's rate limit of a service",
  description: "Starts the counts of all its callers again.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED", "STORE_UNAVAILABLE"),
  responses: { 204: { description: "The limit is reset, or the service has no limit." } },
});

const resetQuota = createRoute({
  method: "post",
  path: "/services/{key}/quota/reset",
  operationId: "resetQuota",
  summary: "Reset the upstream quota of a service",
  description: "Forgets the limits that the upstream reported, for an upstream that reported wrong ones.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: { 204: { description: "The quota is reset, or none is known. Requests that wait already keep waiting." } },
});

export function addResetRoutes(routes: OpenAPIHono<CallerEnv>, parts: ControlPlaneParts): void {
  const { registry, loadOf, audit } = parts;
  routes.openapi(resetRateLimit, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    await resetLimit(loadOf(key).limiter);
    await audit.record(authorOf(context, parts), { action: "rate-limit.reset", subject: key });
    return context.body(null, 204);
  });
  routes.openapi(resetQuota, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    await loadOf(key).quota?.reset();
    await audit.record(authorOf(context, parts), { action: "quota.reset", subject: key });
    return context.body(null, 204);
  });
}

/** A limit that several gateways share is reset for all of them, or for none. */
async function resetLimit(limiter: ServiceLoad["limiter"]): Promise<void> {
  try {
    await limiter?.reset();
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error;
    throw new GatewayError("STORE_UNAVAILABLE", {
      message: "Nothing was reset: the shared store is degraded, so that the other gateways would go on counting.",
      hint: "Check the Redis server that REDIS_URL names; GET /manage/diagnostics has the reason. Then send the request again.",
    });
  }
}
