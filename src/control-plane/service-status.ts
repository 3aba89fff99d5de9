/** The state of one service in `/status`. Base URLs and names of variables are for operators only. */
import { z } from "@hono/zod-openapi";
import {
  type CredentialSource,
  describeOnlyCommand,
  describeSecrets,
  identityOf,
} from "../config/credential-source.ts";
import { credentialState } from "../config/credentials.ts";
import { describeLife } from "../config/described-life.ts";
import { proxyUrlFor } from "../config/egress-proxy.ts";
import { describePool } from "../config/pooled-state.ts";
import { describeRotation } from "../config/rotation-state.ts";
import type { Service } from "../config/schema.ts";
import { PERIODS } from "../config/token-budget.ts";
import { describeToken } from "../config/token-state.ts";
import { SIGNATURE_SCHEMES } from "../config/verify-schema.ts";
import { describeMessageRule, messageRuleOf } from "../config/ws-schema.ts";
import type { DescribedCache } from "../data-plane/cache/service-cache.ts";
import type { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { DescribedIdempotency } from "../data-plane/idempotency/service-idempotency.ts";
import type { ServiceQuotaState } from "../data-plane/quota/describe.ts";
import type { BudgetState } from "../data-plane/spend/spending.ts";
import type { Limiter } from "../limits/limiters.ts";
import { maskBaseUrl } from "../telemetry/redact.ts";
import {
  CredentialCommand,
  CredentialLife,
  CredentialRotation,
  CredentialState,
  CredentialToken,
  PooledCredentials,
} from "./credential-schema.ts";
import { SecretStates } from "./openapi/described-secrets.ts";
import { waitMembers } from "./openapi/wait-members.ts";
import { ownAddresses } from "./own-addresses.ts";
import type { ServiceLoad } from "./parts.ts";

export const Breaker = z
  .strictObject({
    state: z
      .enum(["closed", "open", "half-open"])
      .describe("`half-open`: the next attempt, or the one in flight, tests whether the upstream works again"),
    failures: z.int().describe("failed attempts among `requests`"),
    requests: z
      .int()
      .describe(
        "attempts within the window; if the breaker is not closed, the attempts that opened it and the tests since",
      ),
    retryAfter: z.int().nullable().describe("seconds until the next attempt; null unless the breaker is open"),
  })
  .openapi("Breaker");

export const ServiceStatus = z
  .strictObject({
    key: z.string(),
    name: z.string(),
    source: z.enum(["preset", "file", "override", "runtime"]),
    baseUrl: z.string().optional().describe("only with the management key, if one is set"),
    egressProxy: z
      .string()
      .optional()
      .describe("the same; the proxy to `baseUrl`, without its credential, if there is one"),
    hosts: z.array(z.string()).readonly().optional().describe("the same; the service's own host names, if it has any"),
    port: z.int().optional().describe("the same; the service's own port, if it has one"),
    credential: z.strictObject({
      state: CredentialState,
      type: z.string().nullable(),
      required: z.boolean(),
      refused: z
        .strictObject({ count: z.int(), lastStatus: z.int(), lastAt: z.iso.datetime() })
        .nullable()
        .describe("the upstream's 401 and 403 responses to this credential"),
      source: z
        .string()
        .nullable()
        .optional()
        .describe("the variable, file or program; only with the management key, if one is set"),
      command: CredentialCommand.optional().describe("as `source`; where a command prints the secret"),
      token: CredentialToken.optional().describe("as `source`; where the gateway obtains access tokens"),
      life: CredentialLife.optional().describe("as `source`; where the credential is there"),
      rotation: CredentialRotation.optional().describe("as `source`; where a next secret is set"),
      secrets: SecretStates.optional(),
      of: PooledCredentials.optional().describe("as `source`; the credentials of a pool"),
    }),
    signature: z
      .strictObject({
        scheme: z.enum(SIGNATURE_SCHEMES),
        state: z.enum(["present", "missing"]).describe("of the signing secret; without it every request is refused"),
        source: z.string().optional().describe("the variable or file; only with the management key, if one is set"),
        refused: z
          .array(z.strictObject({ fault: z.string(), count: z.int(), lastAt: z.iso.datetime() }))
          .optional()
          .describe("the same; the requests that were refused, by what was wrong with their signature"),
      })
      .nullable()
      .describe("how requests are signed; null without `access: signature`"),
    rateLimit: z
      .strictObject({
        maxRequests: z.int(),
        windowMs: z.int(),
        per: z.enum(["service", "caller", "ip"]),
        remaining: z.int().optional().describe("only if all callers share one count"),
        resetIn: z.int().optional().describe("seconds"),
        ...waitMembers,
        waiting: z.int().optional().describe("requests that wait for the limit; only if requests may wait"),
      })
      .nullable(),
    budget: z
      .strictObject({
        tokens: z.int(),
        per: z.enum(PERIODS),
        spent: z.int(),
        remaining: z.int(),
        resetIn: z.int().describe("seconds"),
      })
      .nullable()
      .describe("tokens of language models that all callers may spend; null without `budget`"),
    inFlight: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
    breaker: Breaker.nullable().describe("null if it is switched off"),
    connections: z
      .strictObject({
        open: z.int(),
        idle: z.int(),
        busy: z.int().describe("connections with a request"),
        limit: z.int(),
        pending: z.int().describe("requests that wait for a connection"),
        pendingLimit: z.int(),
      })
      .describe("connections to the upstream, without WebSockets"),
    quota: z
      .strictObject({
        mode: z.enum(["off", "observe", "hold"]),
        waiting: z.int().describe("requests that are held"),
        tightest: z
          .strictObject({
            bucket: z.string(),
            remaining: z.number(),
            limit: z.number().nullable(),
            resetIn: z.int().describe("seconds"),
          })
          .nullable()
          .describe("the quota closest to its limit, as reported in the upstream's responses"),
      })
      .nullable()
      .describe("the quota at the upstream; `/manage/quota` shows the details"),
    cache: z
      .strictObject({
        entries: z.int(),
        bytes: z.int().describe("an estimate of their memory"),
        hits: z.int().describe("responses that needed no response of the upstream's own: hit, stale and coalesced"),
        misses: z.int(),
        revalidated: z.int().describe("responses that the upstream validated with 304"),
        bypassed: z.int().describe("requests that did not use the cache"),
      })
      .nullable()
      .describe("stored responses; null for a service without a cache"),
    idempotency: z
      .strictObject({
        first: z.int().describe("requests that were sent, or refused for another reason"),
        replayed: z.int(),
        conflict: z.int().describe("409: the response to the first request is not there"),
        mismatch: z.int().describe("422: the key was used for another request"),
        keys: z.int().describe("keys that the gateway remembers, of all services"),
      })
      .nullable()
      .describe("requests with an Idempotency-Key; null where it is off"),
    ws: z.boolean(),
    inject: z
      .string()
      .optional()
      .describe("the member of WebSocket messages that receives the credential; absent without `ws.inject`"),
    webSockets: z.strictObject({ current: z.int(), limit: z.int().nullable() }),
  })
  .openapi("ServiceStatus");

export async function describeService(
  service: Service,
  load: ServiceLoad,
  budget: BudgetState | undefined,
  isOperator: boolean,
): Promise<z.input<typeof ServiceStatus>> {
  const { limiter, slots, webSocketSlots, transport, credentialRefusals, breaker, quota, cache, idempotency } = load;
  const { auth, credential } = service;
  const rule = messageRuleOf(service.ws);
  return {
    key: service.key,
    name: service.name,
    source: service.source,
    ...(isOperator
      ? { baseUrl: maskBaseUrl(service.baseUrl), ...ownAddresses(service), ...wayOut(service, load) }
      : {}),
    credential: {
      state: credentialState(service),
      type: auth?.type ?? null,
      required: auth?.required ?? false,
      refused: describeRefusals(credentialRefusals),
      ...(isOperator
        ? {
            source: credential?.source ?? null,
            ...withCommand(service),
            ...withLife(credentialRefusals),
            ...secretStates(credential),
          }
        : {}),
    },
    signature: describeSignature(service, load, isOperator),
    rateLimit: service.rateLimit === undefined ? null : { ...service.rateLimit, ...(await stateOf(limiter, service)) },
    budget: budget === undefined ? null : describeBudget(budget),
    inFlight: { current: slots.taken, limit: slots.limit || null },
    breaker: breaker?.describe() ?? null,
    connections: transport.connections(),
    quota: quota === undefined ? null : describeQuota(quota.describe()),
    cache: cache === undefined ? null : describeCache(cache),
    idempotency: idempotency === undefined ? null : describeIdempotency(idempotency),
    ws: service.ws !== false,
    ...(rule === undefined ? {} : { inject: describeMessageRule(rule) }),
    webSockets: { current: webSocketSlots.taken, limit: webSocketSlots.limit || null },
  };
}

function wayOut({ baseUrl }: Service, { proxyUse }: ServiceLoad) {
  const egressProxy = proxyUrlFor(proxyUse, baseUrl);
  return egressProxy === undefined ? {} : { egressProxy };
}

function describeSignature({ verify, signingSecret }: Service, { signature }: ServiceLoad, isOperator: boolean) {
  if (verify === undefined || signingSecret === undefined) return null;
  const state = identityOf(signingSecret) === undefined ? ("missing" as const) : ("present" as const);
  if (!isOperator) return { scheme: verify.scheme, state };
  const refused = [...(signature?.refusals.counts ?? [])].map(([fault, { count, lastAt }]) => ({
    fault,
    count,
    lastAt: new Date(lastAt).toISOString(),
  }));
  return { scheme: verify.scheme, state, source: signingSecret.source, refused };
}

function secretStates(credential: CredentialSource | undefined) {
  const described = describeSecrets(credential, () => "");
  return described && { secrets: described.map(({ name, source, state }) => ({ name, source, state })) };
}

function withCommand({ credential }: Service) {
  const command = describeOnlyCommand(credential);
  const token = describeToken(credential?.token);
  return {
    ...(command === undefined ? {} : { command }),
    ...(token === undefined ? {} : { token }),
    ...(credential?.rotation === undefined ? {} : { rotation: describeRotation(credential.rotation) }),
    ...(credential?.of === undefined ? {} : { of: describePool(credential.of) }),
  };
}

function withLife({ life }: CredentialRefusals) {
  return life === undefined ? {} : { life: describeLife(life.describe()) };
}

function describeIdempotency(idempotency: DescribedIdempotency) {
  const { requests, keys } = idempotency.describe();
  return { ...requests, keys };
}

function describeCache(cache: DescribedCache) {
  const { entries, bytes, responses } = cache.describe();
  const { hit, stale, coalesced, miss: misses, revalidated, bypass: bypassed } = responses;
  return { entries, bytes, hits: hit + stale + coalesced, misses, revalidated, bypassed };
}

function describeBudget({ tokens, per, spent, remaining, resetIn }: BudgetState) {
  return { tokens, per, spent, remaining, resetIn };
}

function describeQuota({ mode, waiting, tightest, at }: ServiceQuotaState) {
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

/** Null if the upstream has refused nothing. */
function describeRefusals({ count, lastStatus, lastAt }: CredentialRefusals) {
  return count === 0 ? null : { count, lastStatus, lastAt: new Date(lastAt).toISOString() };
}

/** A limit per caller or address has one count for each of them, and no total. */
async function stateOf(limiter: Limiter | undefined, { rateLimit }: Service) {
  const waiting = limiter?.queue === undefined ? {} : { waiting: limiter.queue.size };
  if (limiter === undefined || rateLimit?.per !== "service") return waiting;
  const { remaining, resetMs } = await limiter.peek({ callerId: "", address: "" });
  return { remaining, resetIn: Math.ceil(resetMs / 1000), ...waiting };
}
