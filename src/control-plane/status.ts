/**
 * `/status`: the state of the gateway and of its services, for people and dashboards.
 * Invariant: base URLs and names of variables are shown only with the management key, if one is set.
 */
import type { IncomingMessage } from "node:http";
import { getHeapStatistics } from "node:v8";
import { createRoute, z } from "@hono/zod-openapi";
import type { Callers } from "../callers/callers.ts";
import { decideSender } from "../callers/decide-permission.ts";
import { presentedKeysOf } from "../callers/presented-keys.ts";
import { GatewayError } from "../errors.ts";
import type { HookCounts } from "../hooks/user-hooks.ts";
import { type DescribedCertificate, describeCertificate } from "../perimeter/describe-certificate.ts";
import { version } from "../version.ts";
import { forEveryone, json, keysOf } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";
import { socketOf } from "./require-caller.ts";
import { describeService, ServiceStatus } from "./service-status.ts";
import { Pressure } from "./up.ts";

const Status = z.strictObject({
  status: z.enum(["ok", "under pressure", "draining"]),
  version: z.string(),
  uptime: z.int().describe("seconds"),
  timestamp: z.iso.datetime(),
  services: z.array(ServiceStatus),
  hooks: z
    .array(
      z.strictObject({
        name: z.string(),
        phases: z.array(z.enum(["onRequest", "onResponse", "onComplete"])).readonly(),
        refusals: z.int().describe("requests that it refused since it was loaded"),
        failures: z.int().describe("calls that threw, rejected or did not settle"),
        slow: z.int().describe("calls that took over 50 ms"),
      }),
    )
    .describe("user hooks (`MIDDLEWARE_PATH`), in their order"),
  load: z.strictObject({
    inFlight: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    connections: z.array(
      z.strictObject({
        listener: z.enum(["main", "management", "service"]).describe("`service`: the `port` of a service"),
        service: z.string().optional().describe("the service whose `port` it is"),
        current: z.int(),
        limit: z.int(),
        limitPerAddress: z.int().nullable(),
      }),
    ),
    webSockets: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    eventLoopDelay: z.number().describe("ms"),
    eventLoopUtilized: z.number(),
    pressure: z.union([Pressure, z.null()]),
  }),
  tls: z
    .strictObject({ validTo: z.iso.datetime(), daysLeft: z.int(), fingerprint: z.string() })
    .nullable()
    .describe("the certificate that the gateway serves; null for plain HTTP"),
  store: z
    .strictObject({
      state: z.enum(["connected", "degraded"]),
      fault: z.string().nullable().describe("why it is degraded"),
      code: z.string().nullable().describe("error code, such as `ECONNREFUSED` or `WRONGPASS`"),
      since: z.iso.datetime(),
      replicas: z.int().describe("gateways that share it, this one included, as last seen"),
    })
    .nullable()
    .describe("the shared store (`REDIS_URL`); null without one"),
  memory: z.strictObject({ rssBytes: z.int(), heapUsedBytes: z.int(), heapLimitBytes: z.int() }),
});

const EXAMPLE: z.input<typeof Status> = {
  status: "ok",
  version: "0.1.0",
  uptime: 3,
  timestamp: "2026-11-20T23:09:19.178Z",
  services: [
    {
      key: "github",
      name: "GitHub API",
      source: "preset",
      baseUrl: "https://api.github.com/",
      credential: { state: "present", type: "bearer", required: false, refused: null, source: "GITHUB_TOKEN" },
      signature: null,
      rateLimit: null,
      budget: null,
      inFlight: { current: 0, limit: null },
      cache: { entries: 118, bytes: 1_482_112, hits: 12, misses: 130, revalidated: 954, bypassed: 3 },
      idempotency: null,
      ws: false,
      webSockets: { current: 0, limit: null },
      breaker: { state: "closed", failures: 0, requests: 12, retryAfter: null },
      connections: { open: 2, idle: 2, busy: 0, limit: 1_024, pending: 0, pendingLimit: 4_096 },
      quota: {
        mode: "hold",
        waiting: 0,
        tightest: { bucket: "core", remaining: 4_321, limit: 5_000, resetIn: 1_512 },
      },
    },
  ],
  hooks: [{ name: "team-header", phases: ["onRequest"], refusals: 0, failures: 0, slow: 0 }],
  load: {
    inFlight: { current: 0, limit: null },
    connections: [{ listener: "main", current: 1, limit: 10_000, limitPerAddress: null }],
    webSockets: { current: 0, limit: null },
    eventLoopDelay: 0.112,
    eventLoopUtilized: 0.004213,
    pressure: null,
  },
  tls: null,
  store: { state: "connected", fault: null, code: null, since: "2026-11-20T23:09:16.041Z", replicas: 3 },
  memory: { rssBytes: 98_426_880, heapUsedBytes: 21_358_416, heapLimitBytes: 4_345_298_944 },
};

const route = createRoute({
  method: "get",
  path: "/status",
  operationId: "getStatus",
  summary: "The state of the gateway and of its services",
  description: "Base URLs and names of variables are included only with the management key, if one is set.",
  ...forEveryone("Status", "HOST_NOT_ALLOWED"),
  security: [{}, ...keysOf("management")],
  responses: { 200: json("Services, load and memory.", Status, EXAMPLE) },
});

export function addStatusRoute(app: ControlPlane, parts: ControlPlaneParts): void {
  const { instance, monitor, inFlight, registry, loadOf, spending } = parts;
  app.openapi(route, async (context) => {
    const { callers, clients } = parts;
    const { incoming } = context.env;
    const isOperator = isOperatorsKey(callers, incoming, clients.addressOf(incoming));
    const services = await Promise.all(
      registry
        .list()
        .map(async (service) =>
          describeService(service, loadOf(service.key), await spending.ofService(service), isOperator),
        ),
    );
    const { sample, pressure } = monitor;
    return context.json(
      {
        status: statusOf(instance.isDraining, pressure !== undefined),
        version: version.version,
        uptime: Math.round(process.uptime()),
        timestamp: new Date().toISOString(),
        services,
        hooks: (parts.hooks?.counts ?? []).map(describeHook),
        load: {
          inFlight: { current: inFlight.taken, limit: inFlight.limit || null },
          connections: parts.listeners().map(({ name, service, connections: { count, limit, limitPerAddress } }) => ({
            listener: name,
            ...(service === undefined ? {} : { service }),
            current: count,
            limit,
            limitPerAddress: limitPerAddress || null,
          })),
          webSockets: { current: parts.openWebSockets(), limit: parts.webSockets.limit || null },
          eventLoopDelay: Number(sample.eventLoopDelay.toFixed(3)),
          eventLoopUtilized: Number(sample.eventLoopUtilized.toFixed(6)),
          pressure: pressure ?? null,
        },
        tls: parts.certificate === undefined ? null : expiryShown(describeCertificate(parts.certificate.current)),
        store: describeStore(parts.sharedStore),
        memory: {
          rssBytes: sample.rssBytes,
          heapUsedBytes: sample.heapUsed,
          heapLimitBytes: getHeapStatistics().heap_size_limit,
        },
      },
      200,
    );
  });
}

function expiryShown({ validTo, daysLeft, fingerprint }: DescribedCertificate) {
  return { validTo, daysLeft, fingerprint };
}

function describeStore(store: ControlPlaneParts["sharedStore"]) {
  if (store === undefined) return null;
  const { since, ...state } = store.describe();
  return { ...state, since: new Date(since).toISOString() };
}

function describeHook({ name, phases, refusals, failures, slow }: HookCounts) {
  return { name, phases, refusals, failures, slow };
}

/** True without a management key. A wrong key counts as a failed attempt, as on every route. */
function isOperatorsKey(callers: Callers, incoming: IncomingMessage, address: string): boolean {
  if (!callers.isProtected("management")) return true;
  const presented = presentedKeysOf(incoming);
  // A request without a key is not a failed attempt, because this route needs none.
  const hasKey = presented.bearer.length + presented.header.length + presented.query.length > 0;
  if (!hasKey) return false;
  const caller = callers.authenticate({ plane: "management", presented, address, request: incoming });
  return !(caller instanceof GatewayError) && decideSender(caller, address, socketOf(incoming)) === undefined;
}

function statusOf(isDraining: boolean, isUnderPressure: boolean) {
  if (isDraining) return "draining" as const;
  return isUnderPressure ? ("under pressure" as const) : ("ok" as const);
}
