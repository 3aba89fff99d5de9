/**
 * What is running and how it is: for people and dashboards.
 * Invariant: base URLs and the names of variables are for whoever holds the management key, where there is one.
 */
import { getHeapStatistics } from "node:v8";
import { createRoute, z } from "@hono/zod-openapi";
import type { Callers } from "../callers/callers.ts";
import { type PresentedKeys, presentedKeysOf } from "../callers/presented-keys.ts";
import { credentialState } from "../config/credential-state.ts";
import type { Service } from "../config/schema.ts";
import type { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { ServiceQuotaState } from "../data-plane/quota/quota-state.ts";
import { GatewayError } from "../errors.ts";
import type { Limiter } from "../limits/limiters.ts";
import { version } from "../version.ts";
import { Breaker } from "./breaker.ts";
import { forEveryone, json, keysOf } from "./openapi/operations.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";
import { Pressure } from "./up.ts";

const ServiceStatus = z
  .strictObject({
    key: z.string(),
    name: z.string(),
    source: z.enum(["preset", "file", "override", "runtime"]),
    baseUrl: z.string().optional().describe("for whoever holds the management key, where there is one"),
    credential: z.strictObject({
      state: z.enum(["none", "present", "missing"]),
      type: z.string().nullable(),
      required: z.boolean(),
      refused: z
        .strictObject({ count: z.int(), lastStatus: z.int(), lastAt: z.iso.datetime() })
        .nullable()
        .describe("how often the upstream answered 401 or 403 to it"),
      source: z.string().nullable().optional().describe("variable or file; for whoever holds the management key"),
    }),
    rateLimit: z
      .strictObject({
        ...{ maxRequests: z.int(), windowMs: z.int(), per: z.enum(["service", "caller", "ip"]) },
        remaining: z.int().optional().describe("only of a limit that all callers share"),
        resetIn: z.int().optional().describe("s"),
      })
      .nullable(),
    inFlight: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    breaker: Breaker.nullable().describe("null where it is switched off"),
    connections: z
      .strictObject({
        open: z.int(),
        idle: z.int(),
        busy: z.int().describe("those with a request"),
        limit: z.int(),
        pending: z.int().describe("requests that wait for one"),
        pendingLimit: z.int(),
      })
      .describe("to the upstream; WebSockets are not counted"),
    quota: z
      .strictObject({
        mode: z.enum(["off", "observe", "hold"]),
        waiting: z.int().describe("requests that are held"),
        tightest: z
          .strictObject({
            bucket: z.string(),
            remaining: z.number(),
            limit: z.number().nullable(),
            resetIn: z.int().describe("s"),
          })
          .nullable()
          .describe("what is the nearest to its end, as far as answers have told"),
      })
      .nullable()
      .describe("what the upstream allows; `/manage/quota` has all of it"),
    ws: z.boolean(),
    webSockets: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
  })
  .openapi("ServiceStatus");

const Status = z.strictObject({
  status: z.enum(["ok", "under pressure", "draining"]),
  version: z.string(),
  uptime: z.int().describe("s"),
  timestamp: z.iso.datetime(),
  services: z.array(ServiceStatus),
  load: z.strictObject({
    inFlight: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    connections: z.array(
      z.strictObject({
        ...{ listener: z.enum(["main", "management"]), current: z.int(), limit: z.int() },
        limitPerAddress: z.int().nullable(),
      }),
    ),
    webSockets: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    eventLoopDelay: z.number().describe("ms"),
    eventLoopUtilized: z.number(),
    pressure: z.union([Pressure, z.null()]),
  }),
  memory: z.strictObject({ rssBytes: z.int(), heapUsedBytes: z.int(), heapLimitBytes: z.int() }),
});

const route = createRoute({
  ...{ method: "get", path: "/status", operationId: "getStatus", summary: "What is running and how it is" },
  description: "Base URLs and the names of variables are there only with the management key, where one is set.",
  ...forEveryone("Status", "HOST_NOT_ALLOWED"),
  security: [{}, ...keysOf("management")],
  responses: {
    200: json("Services, load and memory.", Status, {
      ...{ status: "ok", version: "0.1.0", uptime: 3, timestamp: "2026-11-20T23:09:19.178Z" },
      services: [
        {
          ...{ key: "github", name: "GitHub API", source: "preset", baseUrl: "https://api.github.com/" },
          credential: { state: "present", type: "bearer", required: false, refused: null, source: "GITHUB_TOKEN" },
          ...{ rateLimit: null, inFlight: { current: 0, limit: null }, ws: false },
          webSockets: { current: 0, limit: null },
          breaker: { state: "closed", failures: 0, requests: 12, retryAfter: null },
          connections: { open: 2, idle: 2, busy: 0, limit: 1_024, pending: 0, pendingLimit: 4_096 },
          quota: {
            ...{ mode: "hold", waiting: 0 },
            tightest: { bucket: "core", remaining: 4_321, limit: 5_000, resetIn: 1_512 },
          },
        },
      ],
      load: {
        inFlight: { current: 0, limit: null },
        connections: [{ listener: "main", current: 1, limit: 10_000, limitPerAddress: null }],
        webSockets: { current: 0, limit: null },
        ...{ eventLoopDelay: 0.112, eventLoopUtilized: 0.004213, pressure: null },
      },
      memory: { rssBytes: 98_426_880, heapUsedBytes: 21_358_416, heapLimitBytes: 4_345_298_944 },
    }),
  },
});

export function addStatusRoute(app: ControlPlane, parts: ControlPlaneParts): void {
  const { instance, monitor, inFlight } = parts;
  app.openapi(route, async (context) => {
    const { callers, clients } = parts;
    const { incoming } = context.env;
    const isOperator =
      !callers.isProtected("management") ||
      isOperatorsKey(callers, presentedKeysOf(incoming), clients.addressOf(incoming));
    const services = await Promise.all(parts.registry.list().map((service) => describe(service, parts, isOperator)));
    const { sample, pressure } = monitor;
    return context.json(
      {
        status: statusWord(instance.isDraining, pressure !== undefined),
        version: version.version,
        uptime: Math.round(process.uptime()),
        timestamp: new Date().toISOString(),
        services,
        load: {
          inFlight: { current: inFlight.taken, limit: inFlight.limit || null },
          connections: parts.listeners().map(({ name, connections: { count, limit, limitPerAddress } }) => ({
            ...{ listener: name, current: count, limit },
            limitPerAddress: limitPerAddress || null,
          })),
          webSockets: { current: parts.openWebSockets(), limit: parts.webSockets.limit || null },
          eventLoopDelay: Number(sample.eventLoopDelay.toFixed(3)),
          eventLoopUtilized: Number(sample.eventLoopUtilized.toFixed(6)),
          pressure: pressure ?? null,
        },
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

/** Guesses are counted here as anywhere. */
function isOperatorsKey(callers: Callers, presented: PresentedKeys, address: string): boolean {
  if (!callers.isProtected("management")) return true;
  // A request without a key is no failed attempt: the route is open to everyone, so it is not recorded as one.
  const hasKey = presented.bearer.length + presented.header.length + presented.query.length > 0;
  if (!hasKey) return false;
  return !(callers.authenticate({ plane: "management", presented, address }) instanceof GatewayError);
}

function statusWord(isDraining: boolean, isUnderPressure: boolean) {
  if (isDraining) return "draining" as const;
  return isUnderPressure ? ("under pressure" as const) : ("ok" as const);
}

async function describe(service: Service, { loadOf }: ControlPlaneParts, isOperator: boolean) {
  const { limiter, slots, webSocketSlots, transport, credentialRefusals, breaker, quota } = loadOf(service.key);
  const { auth, credential } = service;
  return {
    key: service.key,
    name: service.name,
    source: service.source,
    ...(isOperator ? { baseUrl: service.baseUrl } : {}),
    credential: {
      state: credentialState(service),
      type: auth?.type ?? null,
      required: auth?.required ?? false,
      refused: refusedWords(credentialRefusals),
      ...(isOperator ? { source: credential?.source ?? null } : {}),
    },
    rateLimit: service.rateLimit === undefined ? null : { ...service.rateLimit, ...(await stateOf(limiter, service)) },
    inFlight: { current: slots.taken, limit: slots.limit || null },
    breaker: breaker?.describe() ?? null,
    connections: transport.connections(),
    quota: quota === undefined ? null : quotaWords(quota.describe()),
    ws: service.ws,
    webSockets: { current: webSocketSlots.taken, limit: webSocketSlots.limit || null },
  };
}

function quotaWords(state: ServiceQuotaState) {
  const { mode, waiting, tightest, at } = state;
  return {
    mode,
    waiting,
    tightest: tightest && {
      bucket: tightest.bucket,
      remaining: tightest.remaining,
      limit: tightest.limit,
      resetIn: Math.max(0, Math.ceil((tightest.until - at) / 1_000)),
    },
  };
}

/** Null while the upstream has refused nothing. */
function refusedWords({ count, lastStatus, lastAt }: CredentialRefusals) {
  return count === 0 ? null : { count, lastStatus, lastAt: new Date(lastAt).toISOString() };
}

/** Only a count that all callers share can be told without asking for whom. */
async function stateOf(limiter: Limiter | undefined, { rateLimit }: Service) {
  if (limiter === undefined || rateLimit?.per !== "service") return {};
  const { remaining, resetMs } = await limiter.peek({ callerId: "", address: "" });
  return { remaining, resetIn: Math.ceil(resetMs / 1000) };
}
