/** Information for callers: the services, the state of a rate limit, and whether their key works. */
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { refusePermission } from "../callers/decide-permission.ts";
import { credentialState } from "../config/credentials.ts";
import { forCallers, json, SERVICE_IN_PATH } from "./openapi/operations.ts";
import { waitMembers } from "./openapi/wait-members.ts";
import { ownAddresses } from "./own-addresses.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";
import { type CallerEnv, requireCaller } from "./require-caller.ts";

const RateLimit = z.strictObject({
  maxRequests: z.int().describe("requests per window"),
  windowMs: z.int(),
  per: z.enum(["service", "caller", "ip"]).describe("the requests that share one count"),
  ...waitMembers,
});

const Services = z.strictObject({
  services: z.array(
    z.strictObject({
      key: z.string(),
      name: z.string(),
      baseUrl: z.string().describe("only its origin"),
      hosts: z
        .array(z.string())
        .readonly()
        .optional()
        .describe("the service's own host names; a service without any has none"),
      port: z.int().optional().describe("the service's own port on the gateway's machine"),
      hasAuth: z.boolean().describe("the gateway has a credential and adds it to the requests"),
      rateLimit: RateLimit.nullable(),
    }),
  ),
  count: z.int(),
});

const servicesRoute = createRoute({
  method: "get",
  path: "/services",
  operationId: "listServices",
  summary: "List the services that the caller may use",
  ...forCallers("Callers"),
  responses: {
    200: json("The services.", Services, {
      services: [
        {
          key: "github",
          name: "GitHub API",
          baseUrl: "https://api.github.com",
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
  resetIn: z.int().nullable().describe("seconds"),
});

const limitRoute = createRoute({
  method: "get",
  path: "/services/{service}/rate-limit",
  operationId: "getRateLimit",
  summary: "Get the state of a service's rate limit",
  description: "This request does not count towards the limit.",
  parameters: [SERVICE_IN_PATH],
  ...forCallers("Callers", "SERVICE_NOT_CONFIGURED", "INSUFFICIENT_PERMISSIONS"),
  responses: {
    200: json("The limit for this caller. The members are null if the service has no limit.", LimitStatus, {
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
  summary: "Whether the key is valid",
  ...forCallers("Callers"),
  responses: {
    200: json(
      "The key is valid.",
      z.strictObject({
        success: z.literal(true),
        caller: z.string().describe("the id of the caller in the log and in limits per caller"),
        protected: z.boolean().describe("whether the plane requires a key"),
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
    const permissions = context.get("caller").issued?.permissions;
    const visible = registry.list().filter(({ key }) => permissions?.allowsService(key) ?? true);
    const services = visible.map((service) => ({
      key: service.key,
      name: service.name,
      // The path of a base URL is the operator's: it may contain an account, or a secret.
      baseUrl: new URL(service.baseUrl).origin,
      ...ownAddresses(service),
      hasAuth: ["present", "pending"].includes(credentialState(service)),
      rateLimit: service.rateLimit ?? null,
    }));
    return context.json({ services, count: services.length }, 200);
  });

  routes.openapi(limitRoute, async (context) => {
    const key = context.req.param("service");
    const service = registry.find(key);
    const permissions = context.get("caller").issued?.permissions;
    if (service === undefined) throw registry.refuseUnknown(key, permissions?.allowsService);
    if (permissions?.allowsService(key) === false) throw refusePermission(`${key}:read`);
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
