/** What callers may ask about the proxy plane: what there is, what is left of a limit, whether their key works. */
import { Hono } from "hono";
import { credentialState } from "../registry/credential-state.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";
import { type CallerEnv, requireCaller } from "./require-caller.ts";

export function addProxyRoutes(app: ControlPlane, parts: ControlPlaneParts): void {
  const { callers, registry, loadOf, clients } = parts;
  const routes = new Hono<CallerEnv>();
  for (const path of ["/services", "/services/*", "/auth-test"]) {
    routes.use(path, requireCaller("proxy", callers, parts.guardOpenProxyPlane));
  }

  routes.get("/services", (context) => {
    const services = registry.list().map((service) => ({
      key: service.key,
      name: service.name,
      baseUrl: service.baseUrl,
      hasAuth: credentialState(service) === "present",
      rateLimit: service.rateLimit ?? null,
    }));
    return context.json({ services, count: services.length });
  });

  routes.get("/services/:service/rate-limit", async (context) => {
    const key = context.req.param("service");
    const service = registry.find(key);
    if (service === undefined) throw registry.refuseUnknown(key);
    const { limiter } = loadOf(key);
    if (limiter === undefined) {
      return context.json({ service: key, limit: null, remaining: null, resetTime: null, resetIn: null });
    }
    const state = await limiter.peek({
      callerId: context.get("caller").id,
      address: clients.addressOf(context.env.incoming),
    });
    return context.json({
      service: key,
      limit: state.limit,
      remaining: state.remaining,
      resetTime: new Date(Date.now() + state.resetMs).toISOString(),
      resetIn: Math.ceil(state.resetMs / 1000),
    });
  });

  routes.get("/auth-test", (context) =>
    context.json({ success: true, caller: context.get("caller").id, protected: callers.isProtected("proxy") }),
  );
  app.route("/proxy", routes);
}
