/** Health, readiness, version and links. These routes need no key, because health probes have none. */
import { createRoute, z } from "@hono/zod-openapi";
import { version } from "../version.ts";
import { forEveryone, json } from "./openapi/operations.ts";
import type { Audience, ControlPlane, ControlPlaneParts } from "./parts.ts";

const Links = z.strictObject({
  health: z.string(),
  ready: z.string(),
  up: z.string(),
  version: z.string(),
  authStatus: z.string(),
  status: z.string().optional(),
  metrics: z.string().optional(),
  manage: z.string().optional(),
  docs: z.string().optional(),
  openapi: z.string().optional(),
  services: z.string().optional(),
  authTest: z.string().optional(),
  proxy: z.string().optional(),
});

const PUBLIC_LINKS = {
  health: "/health",
  ready: "/health/ready",
  up: "/up",
  version: "/version",
  authStatus: "/auth-status",
};
const OPERATOR_LINKS = {
  status: "/status",
  metrics: "/metrics",
  manage: "/manage/services",
  docs: "/docs",
  openapi: "/openapi.json",
};
const CALLER_LINKS = { services: "/proxy/services", authTest: "/proxy/auth-test", proxy: "/proxy/{service}/{path}" };

const linksRoute = createRoute({
  method: "get",
  path: "/",
  operationId: "getLinks",
  summary: "Name, version and all routes",
  ...forEveryone("Health"),
  responses: {
    200: json(
      "The name, the version, and the routes of this listener.",
      z.strictObject({ name: z.literal("ByteProxy"), version: z.string(), links: Links }),
      {
        name: "ByteProxy",
        version: "0.1.0",
        links: { ...PUBLIC_LINKS, ...OPERATOR_LINKS, ...CALLER_LINKS },
      },
    ),
  },
});

const Health = z
  .strictObject({
    status: z.literal("ok"),
    uptime: z.int().min(0).describe("seconds since the process started"),
    timestamp: z.iso.datetime(),
    version: z.string(),
  })
  .openapi("Health");

const healthRoute = <P extends string>(path: P, operationId: string) =>
  createRoute({
    method: "get",
    path,
    operationId,
    summary: "Whether the process is alive",
    ...forEveryone("Health"),
    responses: {
      200: json("The process is alive.", Health, {
        status: "ok",
        uptime: 3,
        timestamp: "2026-11-20T23:09:19.178Z",
        version: "0.1.0",
      }),
    },
  });

const readiness = <S extends string>(status: S) =>
  z.strictObject({ status: z.literal(status), reasons: z.array(z.enum(["draining"])) });

const Ready = readiness("ready").extend({
  degraded: z
    .array(z.enum(["store"]))
    .optional()
    .describe("what works in a reduced way: while the shared store is degraded, limits are local"),
});

const readyRoute = <P extends string>(path: P, operationId: string) =>
  createRoute({
    method: "get",
    path,
    operationId,
    summary: "Whether the gateway is ready for traffic",
    ...forEveryone("Health"),
    responses: {
      200: json("The gateway is ready.", Ready, { status: "ready", reasons: [] }),
      503: json("The gateway is not ready, for these reasons.", readiness("unready"), {
        status: "unready",
        reasons: ["draining"],
      }),
    },
  });

const Version = z
  .strictObject({
    name: z.literal("byteproxy"),
    version: z.string(),
    commit: z.string().nullable().describe("the commit of the image's build; null elsewhere"),
    runtime: z.string(),
    platform: z.string(),
  })
  .openapi("Version");

const versionRoute = <P extends string>(path: P, operationId: string) =>
  createRoute({
    method: "get",
    path,
    operationId,
    summary: "Version, commit and runtime",
    ...forEveryone("Health"),
    responses: {
      200: json("The version, the commit and the runtime.", Version, {
        name: "byteproxy",
        version: "0.1.0",
        commit: null,
        runtime: "node 20.20.2",
        platform: "linux x64",
      }),
    },
  });

const updateRoute = createRoute({
  method: "get",
  path: "/version/check",
  operationId: "checkForUpdate",
  summary: "Whether a newer version is available",
  description: "Requests `UPDATE_CHECK_URL` at most once an hour.",
  ...forEveryone("Health"),
  responses: {
    200: json(
      "The newest version. If it is not known, the members are null and `reason` says why.",
      z.strictObject({
        current: z.string(),
        latest: z.string().nullable(),
        updateAvailable: z.boolean().nullable(),
        checkedAt: z.iso.datetime().nullable(),
        reason: z.string().optional(),
      }),
      { current: "0.1.0", latest: "0.2.0", updateAvailable: true, checkedAt: "2026-11-20T23:09:19.178Z" },
    ),
  },
});

export function addHealthRoutes(
  app: ControlPlane,
  { instance, checkForUpdate, sharedStore }: ControlPlaneParts,
  audience: Audience,
): void {
  const degraded = () => (sharedStore?.describe().state === "degraded" ? { degraded: ["store" as const] } : {});
  app.openapi(linksRoute, (context) =>
    context.json(
      {
        name: "ByteProxy" as const,
        version: version.version,
        links: {
          ...PUBLIC_LINKS,
          ...(audience.operators ? OPERATOR_LINKS : {}),
          ...(audience.callers ? CALLER_LINKS : {}),
        },
      },
      200,
    ),
  );
  // Some charts and load balancers request the longer names.
  for (const route of [
    healthRoute("/health", "getHealth"),
    healthRoute("/health/live", "getLiveness"),
    healthRoute("/health/liveness", "getLivenessAlias"),
  ]) {
    app.openapi(route, (context) =>
      context.json(
        {
          status: "ok" as const,
          uptime: Math.round(process.uptime()),
          timestamp: new Date().toISOString(),
          version: version.version,
        },
        200,
      ),
    );
  }
  for (const route of [
    readyRoute("/health/ready", "getReadiness"),
    readyRoute("/health/readiness", "getReadinessAlias"),
  ]) {
    app.openapi(route, (context) =>
      instance.isDraining
        ? context.json({ status: "unready" as const, reasons: ["draining" as const] }, 503)
        : context.json({ status: "ready" as const, reasons: [], ...degraded() }, 200),
    );
  }
  app.openapi(updateRoute, async (context) => context.json(await checkForUpdate(), 200));
  for (const route of [versionRoute("/health/version", "getHealthVersion"), versionRoute("/version", "getVersion")]) {
    app.openapi(route, (context) => context.json(version, 200));
  }
}
