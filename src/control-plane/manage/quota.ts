/** `/manage/quota`: the remaining quota at the upstreams by service, credential and bucket, as reported in their responses. */
import { createRoute, type OpenAPIHono, z } from "@hono/zod-openapi";
import type { QuotaBucketState, QuotaState, ServiceQuotaState } from "../../data-plane/quota/describe.ts";
import { forOperators, json, NO_STORE } from "../openapi/operations.ts";
import type { ControlPlaneParts } from "../parts.ts";
import type { CallerEnv } from "../require-caller.ts";

/** For the buckets of one credential and the credentials of one service. */
const LISTED_LIMIT = 100;

const time = z.iso.datetime().nullable();

const Bucket = z
  .strictObject({
    bucket: z.string().describe("the upstream's name for the bucket, or the route; empty if there is only one"),
    closedUntil: time.describe("the upstream allows no request before this time"),
    windows: z
      .array(
        z.strictObject({
          name: z.string().describe("`requests`, `tokens`, or the name of a policy; empty if there is only one"),
          limit: z.number().nullable(),
          remaining: z.number().describe("as reported in the last response; requests in flight are not subtracted"),
          resetsAt: z.iso.datetime(),
          resetIn: z.int().describe("seconds"),
        }),
      )
      .readonly(),
    inFlight: z.int(),
    waiting: z.int().describe("requests that are held"),
  })
  .openapi("QuotaBucket");

const Credential = z
  .strictObject({
    source: z
      .string()
      .nullable()
      .describe("the variable or file; `caller` for a caller's own credential; null for requests without one"),
    fingerprint: z.string().nullable(),
    closedUntil: time.describe("for all buckets"),
    refusals: z
      .strictObject({ count: z.int(), limit: z.int() })
      .nullable()
      .describe("responses that count towards a ban, if the upstream has one"),
    inFlight: z.int(),
    waiting: z.int(),
    bucketCount: z.int(),
    buckets: z.array(Bucket).readonly().describe(`at most ${LISTED_LIMIT}, those with the least remaining quota first`),
  })
  .openapi("CredentialQuota");

const ServiceQuota = z
  .strictObject({
    service: z.string(),
    mode: z.enum(["off", "observe", "hold"]),
    maxWaitMs: z.int(),
    maxQueue: z.int(),
    maxHoldMs: z.int().describe("no time in a response counts beyond this"),
    upstreamRefusals: z
      .strictObject({ count: z.int(), lastAt: z.iso.datetime() })
      .nullable()
      .describe("responses for too many requests, since the start"),
    waiting: z.int().describe("requests that are held, over all credentials; those of a pool wait for any of them"),
    credentialCount: z.int(),
    credentials: z.array(Credential).readonly().describe(`at most ${LISTED_LIMIT}`),
  })
  .openapi("ServiceQuota");

const EXAMPLE = {
  services: [
    {
      service: "github",
      mode: "hold" as const,
      maxWaitMs: 10_000,
      maxQueue: 1_000,
      maxHoldMs: 3_600_000,
      upstreamRefusals: null,
      waiting: 0,
      credentialCount: 1,
      credentials: [
        {
          source: "GITHUB_TOKEN",
          fingerprint: "5b6c3b1f",
          closedUntil: null,
          refusals: null,
          inFlight: 2,
          waiting: 0,
          bucketCount: 1,
          buckets: [
            {
              bucket: "core",
              closedUntil: null,
              inFlight: 2,
              waiting: 0,
              windows: [
                { name: "", limit: 5_000, remaining: 4_321, resetsAt: "2026-11-21T16:00:00.000Z", resetIn: 1_512 },
              ],
            },
          ],
        },
      ],
    },
  ],
  count: 1,
};

const route = createRoute({
  method: "get",
  path: "/quota",
  operationId: "listQuotas",
  summary: "List the remaining quota at the upstreams",
  description:
    "By service, credential and bucket, as reported in the upstreams' responses. Services without a known quota are left out.",
  ...forOperators("Management"),
  responses: {
    200: json(
      "All services with an observed quota.",
      z.strictObject({ services: z.array(ServiceQuota), count: z.int() }),
      EXAMPLE,
      NO_STORE,
    ),
  },
});

export function addQuotaRoute(routes: OpenAPIHono<CallerEnv>, { registry, loadOf }: ControlPlaneParts): void {
  routes.openapi(route, (context) => {
    const services = registry.list().flatMap(({ key }) => {
      const quota = loadOf(key).quota;
      return quota === undefined ? [] : [show(key, quota.describe())];
    });
    context.header("Cache-Control", "no-store");
    return context.json({ services, count: services.length }, 200);
  });
}

function show(service: string, state: ServiceQuotaState): z.input<typeof ServiceQuota> {
  const { mode, maxWaitMs, maxQueue, maxHoldMs, upstreamRefusals: count, lastRefusalAt, credentials, waiting } = state;
  return {
    service,
    mode,
    maxWaitMs,
    maxQueue,
    maxHoldMs,
    upstreamRefusals: count === 0 ? null : { count, lastAt: new Date(lastRefusalAt).toISOString() },
    waiting,
    credentialCount: credentials.length,
    credentials: [...credentials]
      .sort((a, b) => b.waiting - a.waiting || b.buckets.length - a.buckets.length)
      .slice(0, LISTED_LIMIT)
      .map((credential) => showCredential(credential, state.at)),
  };
}

function showCredential({ closedUntil, buckets, ...rest }: QuotaState, now: number): z.input<typeof Credential> {
  return {
    ...rest,
    closedUntil: dateOf(closedUntil),
    bucketCount: buckets.length,
    buckets: [...buckets]
      .sort((a, b) => leftIn(a) - leftIn(b))
      .slice(0, LISTED_LIMIT)
      .map((bucket) => ({
        ...bucket,
        closedUntil: dateOf(bucket.closedUntil),
        windows: bucket.windows.map(({ name, limit = null, remaining, resetsAt }) => ({
          name,
          limit,
          remaining,
          resetsAt: new Date(resetsAt).toISOString(),
          resetIn: Math.max(0, Math.ceil((resetsAt - now) / 1_000)),
        })),
      })),
  };
}

function leftIn({ closedUntil, windows }: QuotaBucketState): number {
  return closedUntil === null ? Math.min(...windows.map(({ remaining }) => remaining)) : -1;
}

const dateOf = (time: number | null) => (time === null ? null : new Date(time).toISOString());
