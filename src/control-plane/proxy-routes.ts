/** What callers may ask about the proxy plane: what there is, what is left of a limit, whether their key works. */
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { credentialState } from "../registry/credential-state.ts";
import { forCallers, json, SERVICE_IN_PATH } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";
import { type CallerEnv, requireCaller } from "./require-caller.ts";

const RateLimit = z.strictObject({
  maxRequests: z.int().describe("requests a window"),
  windowMs: z.int(),
  per: z.enum(["service", "caller", "ip"]).describe("what is counted together"),
});

const Services = z.strictObject({
  services: z.array(
    z.strictObject({
      key: z.string(),
      name: z.string(),
      baseUrl: z.string(),
      hasAuth: z.boolean().describe("a credential is there and is put on its requests"),
      rateLimit: RateLimit.nullable(),
    }),
  ),
  count: z.int(),
});

const servicesRoute = createRoute({
  method: "get",
  path: "/services",
  operationId: "listServices",
  summary: "The services that can be called",
  ...forCallers("Callers"),
  responses: {
    200: json("All that is served.", Services, {
      services: [
        {
          key: "github",
          name: "GitHub API",
          baseUrl: "https://api.github.com/",
          hasAuth: true,
          rateLimit: { maxRequests: 60, windowMs: 3_600_000, per: "service" },
        },
      ],
      count: 1,
    }),
  },
});

const LimitStatus = z.strictObject({
  service: z.string(),
  limit: z.int().nullable(),
  remaining: z.int().nullable(),
  resetTime: z.iso.datetime().nullable(),
  resetIn: z.int().nullable().describe("s"),
});

const limitRoute = createRoute({
  method: "get",
  path: "/services/{service}/rate-limit",
  operationId: "getRateLimit",
  summary: "What is left of a service's own limit",
  description: "Asking spends nothing.",
  parameters: [SERVICE_IN_PATH],
  ...forCallers("Callers", "SERVICE_NOT_CONFIGURED"),
  responses: {
    200: json("For this caller; nulls where there is no limit.", LimitStatus, {
      service: "github",
      limit: 60,
      remaining: 59,
      resetTime: "2026-11-21T00:09:19.178Z",
      resetIn: 3600,
    }),
  },
});

const authTestRoute = createRoute({
  method: "get",
  path: "/auth-test",
  operationId: "testKey",
  summary: "Whether the key works",
  ...forCallers("Callers"),
  responses: {
    200: json(
      "It does.",
      z.strictObject({
        success: z.literal(true),
        caller: z.string().describe("as the log and limits by caller name it"),
        protected: z.boolean().describe("whether a key is needed at all"),
      }),
      { success: true, caller: "proxy-key", protected: true },
    ),
  },
});

export function addProxyRoutes(app: ControlPlane, parts: ControlPlaneParts): void {
  const { callers, registry, loadOf, clients } = parts;
  const routes = new OpenAPIHono<CallerEnv>();
  for (const path of ["/services", "/services/*", "/auth-test"]) {
    routes.use(path, requireCaller("proxy", parts));
  }

  routes.openapi(servicesRoute, (context) => {
    const services = registry.list().map((service) => ({
      key: service.key,
      name: service.name,
      baseUrl: service.baseUrl,
      hasAuth: credentialState(service) === "present",
      rateLimit: service.rateLimit ?? null,
    }));
    return context.json({ services, count: services.length }, 200);
  });

  routes.openapi(limitRoute, async (context) => {
    const key = context.req.param("service");
    const service = registry.find(key);
    if (service === undefined) throw registry.refuseUnknown(key);
    const { limiter } = loadOf(key);
    if (limiter === undefined) {
      return context.json({ service: key, limit: null, remaining: null, resetTime: null, resetIn: null }, 200);
    }
    const state = await limiter.peek({
      callerId: context.get("caller").id,
      address: clients.addressOf(context.env.incoming),
    });
    return context.json(
      {
        service: key,
        limit: state.limit,
        remaining: state.remaining,
        resetTime: new Date(Date.now() + state.resetMs).toISOString(),
        resetIn: Math.ceil(state.resetMs / 1000),
      },
      200,
    );
  });

  routes.openapi(authTestRoute, (context) =>
    context.json(
      { success: true as const, caller: context.get("caller").id, protected: callers.isProtected("proxy") },
      200,
    ),
  );
  app.route("/proxy", routes);
}
