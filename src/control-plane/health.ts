/** Whether the process lives and may be given traffic, and what it is. Open to everyone: probes hold no keys. */
import { version } from "../version.ts";
import type { Audience, ControlPlane, ControlPlaneParts } from "./parts.ts";

export function addHealthRoutes(
  app: ControlPlane,
  { instance, checkForUpdate }: ControlPlaneParts,
  audience: Audience,
): void {
  app.get("/", (context) =>
    context.json({
      name: "ByteProxy",
      version: version.version,
      links: {
        health: "/health",
        ready: "/health/ready",
        up: "/up",
        version: "/version",
        authStatus: "/auth-status",
        ...(audience.operators ? { status: "/status", metrics: "/metrics", manage: "/manage/services" } : {}),
        ...(audience.callers
          ? { services: "/proxy/services", authTest: "/proxy/auth-test", proxy: "/proxy/{service}/{path}" }
          : {}),
      },
    }),
  );
  for (const path of ["/health", "/health/live"]) {
    app.get(path, (context) =>
      context.json({
        status: "ok",
        uptime: Math.round(process.uptime()),
        timestamp: new Date().toISOString(),
        version: version.version,
      }),
    );
  }
  app.get("/health/ready", (context) => {
    const reasons = instance.isDraining ? ["draining"] : [];
    return context.json(
      { status: reasons.length === 0 ? "ready" : "unready", reasons },
      reasons.length === 0 ? 200 : 503,
    );
  });
  app.get("/version/check", async (context) => context.json(await checkForUpdate()));
  for (const path of ["/health/version", "/version"]) app.get(path, (context) => context.json(version));
}
