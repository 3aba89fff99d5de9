/**
 * What is running and how it is: for people and dashboards.
 * Invariant: base URLs and the names of variables are for whoever holds the management key, where there is one.
 */
import { getHeapStatistics } from "node:v8";
import { presentedKeysOf } from "../callers/presented-keys.ts";
import type { Service } from "../config/schema.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { CredentialRefusals } from "../registry/credential-refusals.ts";
import { credentialState } from "../registry/credential-state.ts";
import { version } from "../version.ts";
import type { ControlPlane, ControlPlaneParts } from "./parts.ts";

export function addStatusRoute(app: ControlPlane, parts: ControlPlaneParts): void {
  const { instance, registry, monitor, inFlight } = parts;
  app.get("/status", async (context) => {
    const { authenticate, isProtected } = parts.callers;
    const isOperator =
      !isProtected("management") ||
      authenticate("management", presentedKeysOf(context.env.incoming)).verdict === "known";
    const services = await Promise.all(registry.list().map((service) => describe(service, parts, isOperator)));
    const { sample, pressure } = monitor;
    return context.json({
      status: instance.isDraining ? "draining" : pressure === undefined ? "ok" : "under pressure",
      version: version.version,
      uptime: Math.round(process.uptime()),
      timestamp: new Date().toISOString(),
      services,
      load: {
        inFlight: { current: inFlight.taken, limit: inFlight.limit || null },
        connections: parts
          .listeners()
          .map(({ name, connections: { count, limit } }) => ({ listener: name, current: count, limit })),
        webSockets: parts.openWebSockets(),
        eventLoopDelay: Number(sample.eventLoopDelay.toFixed(3)),
        eventLoopUtilized: Number(sample.eventLoopUtilized.toFixed(6)),
        pressure: pressure ?? null,
      },
      memory: {
        rssBytes: sample.rssBytes,
        heapUsedBytes: sample.heapUsed,
        heapLimitBytes: getHeapStatistics().heap_size_limit,
      },
    });
  });
}

async function describe(service: Service, { loadOf }: ControlPlaneParts, isOperator: boolean) {
  const { limiter, slots, credentialRefusals } = loadOf(service.key);
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
    ws: service.ws,
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
