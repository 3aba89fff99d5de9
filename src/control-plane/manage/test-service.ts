/** `POST /manage/services/{key}/test`: probes the upstream of one service. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import { forOperators, json, KEY_IN_PATH, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

const phaseMs = z.number().nullable().describe("ms; null if the phase does not apply or was not reached");

const Certificate = z.strictObject({
  subject: z.string(),
  names: z.array(z.string()).readonly(),
  issuer: z.string(),
  validFrom: z.iso.datetime(),
  validTo: z.iso.datetime(),
  daysLeft: z.int().describe("negative if the certificate has expired"),
  protocol: z.string().nullable(),
});

const Outcome = z.strictObject({
  service: z.string(),
  status: z.enum(["reachable", "unreachable"]),
  responseStatus: z.int().nullable(),
  duration: z.string().regex(/^\d+ms$/),
  baseUrl: z.string(),
  phases: z.strictObject({ dns: phaseMs, connect: phaseMs, proxy: phaseMs, tls: phaseMs, http: phaseMs }),
  certificate: z.union([Certificate, z.null()]),
  clockDifference: z.number().nullable().describe("seconds that the upstream's clock is ahead"),
  credential: z.enum(["none", "missing", "accepted", "refused", "unknown"]),
  phase: z.enum(["dns", "connect", "proxy", "tls", "http"]).optional().describe("the phase that failed"),
  code: z.string().optional(),
  error: z.string().optional(),
  troubleshooting: z.array(z.string()).readonly().optional(),
});

const route = createRoute({
  method: "post",
  path: "/services/{key}/test",
  operationId: "testService",
  summary: "Probe the upstream of a service",
  description: "Opens one connection and sends one GET of the base URL with the service's headers and credential.",
  parameters: [KEY_IN_PATH],
  ...forOperators("Services", "SERVICE_NOT_CONFIGURED"),
  responses: {
    200: json(
      "The outcome of the probe.",
      Outcome,
      {
        service: "echo",
        status: "reachable",
        responseStatus: 200,
        duration: "4ms",
        baseUrl: "http://echo.localhost/",
        phases: { dns: null, connect: 0.4, proxy: null, tls: null, http: 2.9 },
        certificate: null,
        clockDifference: 0,
        credential: "none",
      },
      NO_STORE,
    ),
  },
});

export function addTestServiceRoute(routes: OpenAPIHono<CallerEnv>, { registry, probe }: ControlPlaneParts): void {
  routes.openapi(route, async (context) => {
    const key = context.req.param("key");
    if (registry.find(key) === undefined) throw registry.refuseUnknown(key);
    context.header("Cache-Control", "no-store");
    return context.json(await probe(key), 200);
  });
}
