/**
 * The services file: its members, defaults and descriptions.
 * Invariant: the types, the editor schema in config/ and docs/configuration.md are all generated from this file.
 */
import { z } from "zod";
import { authSchema } from "./auth-schema.ts";
import { checkSignedService } from "./aws-schema.ts";
import { baseUrl } from "./base-url.ts";
import { type CacheSettings, cacheSettings } from "./cache-settings.ts";
import { checkPool } from "./check-pool.ts";
import { headerMap, headerName } from "./configured-headers.ts";
import type { CredentialSource } from "./credential-source.ts";
import { egressProxyMember } from "./egress-proxy.ts";
import { type IdempotencySettings, idempotencySettings } from "./idempotency-settings.ts";
import { pathHints } from "./path-hints.ts";
import { quotaSettings } from "./quota-settings.ts";
import { rateLimitSchema } from "./rate-limit-schema.ts";
import { serviceHost } from "./service-addresses.ts";
import { checkBudget } from "./service-budget.ts";
import { filePath } from "./source-names.ts";
import { tokenBudget } from "./token-budget.ts";
import { checkAccess, verifySchema } from "./verify-schema.ts";
import { checkMessages, wsSchema } from "./ws-schema.ts";

/** Path segments after /proxy/ that are routes of the gateway, and names that are unsafe as object keys. */
export const RESERVED_SERVICE_KEYS = ["services", "auth-test", "manage", "constructor", "prototype"] as const;

/** setTimeout and the memory store of the limiter overflow above this many ms (24.8 days), and would then not limit at all. */
export const LONGEST_TIMER_MS = 2_147_483_647;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

const milliseconds = z.int().min(1).max(LONGEST_TIMER_MS);

const breaker = z.union([
  z.literal(false),
  z.strictObject({
    failureRatio: z
      .number()
      .gt(0)
      .max(1)
      .meta({ allowed: "a number above 0, up to 1" })
      .default(0.5)
      .describe("share of failed attempts within the window at which the breaker opens"),
    minRequests: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(20)
      .describe("number of attempts within the window below which the breaker never opens"),
    windowMs: z.int().min(100).max(LONGEST_TIMER_MS).default(10_000).describe("length of the window, ms"),
    openMs: milliseconds.default(10_000).describe("ms without requests, until one attempt tests the upstream"),
  }),
]);

const tls = z.strictObject({
  strict: z.boolean().optional().describe("verify the certificate; default: `STRICT_TLS`"),
  caFile: filePath.optional().describe("PEM file of the CA to trust, instead of the public ones"),
  certFile: filePath.optional().describe("PEM file of the client certificate"),
  keyFile: filePath.optional().describe("PEM file of the key for the client certificate"),
  servername: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe("host name to send (SNI) and verify, instead of the URL's"),
});

/** One service in the services file. */
export const serviceSchema = z
  .strictObject({
    name: z.string().min(1).max(200).optional().describe("display name; default: the key"),
    baseUrl: baseUrl.describe("URL of the upstream: http or https, without user info, query or fragment"),
    versionedBaseUrls: z
      .record(
        z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a path segment of letters, digits, `.`, `_` and `-`"),
        baseUrl,
      )
      .default({})
      .describe("a first path segment that equals a key here selects that base URL and is removed from the path"),
    hosts: z
      .array(serviceHost)
      .max(16)
      .default([])
      .describe(
        "host names that belong to this service alone: a request to one of them is for the service, with its whole path; an entry without a port matches every port",
      ),
    port: z.int().min(1).max(65_535).optional().describe("a further port on loopback that serves this service at `/`"),
    headers: headerMap.default({}).describe("request headers that are added if the caller does not send them"),
    setHeaders: headerMap.default({}).describe("request headers that replace the caller's"),
    removeHeaders: z
      .array(headerName)
      .max(64)
      .default([])
      .describe("request headers that are neither forwarded nor added by the gateway"),
    auth: authSchema.optional().describe("the credential that the gateway adds to each request"),
    rateLimit: rateLimitSchema(LONGEST_TIMER_MS).optional().describe("the gateway's own rate limit for this service"),
    budget: tokenBudget
      .optional()
      .describe("tokens of language models that all callers together may spend, counted from the upstream's responses"),
    timeoutMs: milliseconds
      .optional()
      .describe("ms until the response headers, including all attempts and back-off; default: `NETWORK_TIMEOUT`"),
    connectTimeoutMs: milliseconds.optional().describe("ms to connect; default: `NETWORK_CONNECT_TIMEOUT`"),
    idleTimeoutMs: z
      .int()
      .min(0)
      .max(LONGEST_TIMER_MS)
      .optional()
      .describe(
        "ms without data within a body, 0 for no limit; default: 300000, and no limit for `text/event-stream` and gRPC",
      ),
    retries: z.int().min(0).max(10).optional().describe("retries of a replayable request; default: `NETWORK_RETRIES`"),
    methods: z.array(z.enum(METHODS)).min(1).max(64).optional().describe("methods that callers may use; default: all"),
    methodParameters: z
      .array(z.string().min(1).max(64))
      .max(16)
      .default(["_method", "method", "_HttpMethod", "X-HTTP-Method-Override", "X-HTTP-Method"])
      .describe(
        "query parameters that the upstream may read as the method: an issued key needs the permission for that method, too",
      ),
    ws: wsSchema
      .default(false)
      .describe("allow WebSocket connections; an object also puts the credential into messages of the client"),
    http2: z
      .boolean()
      .default(false)
      .describe(
        "reach the upstream by HTTP/2, as gRPC needs: for https by ALPN, for http with prior knowledge; not together with `ws`",
      ),
    cookies: z
      .boolean()
      .default(false)
      .describe("forward `Cookie` and `Set-Cookie`, limited to the path of this service"),
    forwardedHeaders: z
      .boolean()
      .default(false)
      .describe("send the client's address and host to the upstream (`X-Forwarded-*`, `Forwarded`)"),
    rewriteLinks: z.boolean().default(true).describe("rewrite links to the upstream in response headers"),
    redirects: z
      .enum(["pass", "block"])
      .default("pass")
      .describe("`block` refuses a response that redirects the client to another origin, with 502 `REDIRECT_BLOCKED`"),
    webContent: z
      .enum(["isolate", "pass"])
      .default("isolate")
      .describe("`isolate` keeps the upstream's web pages apart from the gateway's; `pass` does not"),
    interim: z
      .enum(["pass", "drop"])
      .default("pass")
      .describe("`drop` keeps interim responses (102, 103) from clients that take one for the response"),
    scrubBodies: z
      .boolean()
      .default(false)
      .describe(
        "mask the injected secrets in response bodies of text, too; asks the upstream for unencoded, whole bodies",
      ),
    pathPolicy: z.enum(["strict", "raw"]).default("strict").describe("`raw` allows dot segments (for object stores)"),
    maxBodyBytes: z.int().min(0).default(0).describe("largest request body in bytes, 0 for no limit"),
    maxConcurrent: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(0)
      .describe("requests in flight at the same time, 0 for no limit"),
    maxConnections: z
      .int()
      .min(1)
      .max(65_535)
      .default(1_024)
      .describe("connections to the upstream, one for each request in flight; WebSockets are not counted"),
    maxPending: z
      .int()
      .min(0)
      .max(100_000)
      .default(4_096)
      .describe("requests that may wait for a connection, each for at most its `timeoutMs`"),
    idleConnectionMs: milliseconds
      .default(60_000)
      .describe(
        "how long an idle connection to the upstream is kept; the upstream's `Keep-Alive: timeout` shortens it",
      ),
    maxConnectionAgeMs: milliseconds
      .default(600_000)
      .describe(
        "after this time a connection takes no new request, so that a changed address of the upstream is noticed",
      ),
    maxWebSockets: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(0)
      .describe("WebSockets open at the same time, 0 for no limit"),
    access: z
      .enum(["key", "public", "signature"])
      .default("key")
      .describe(
        "who may call the service: `key` for callers with a key, `public` for every client, `signature` for callers that sign their requests",
      ),
    verify: verifySchema.optional().describe("with `access: signature`: how the signatures are checked"),
    quota: quotaSettings(LONGEST_TIMER_MS)
      .prefault({})
      .describe("the upstream's own limits, learned from its responses"),
    breaker: breaker
      .prefault({})
      .describe(
        "sends no requests to a failing upstream (503 `CIRCUIT_OPEN`) until it works again; `false` turns this off",
      ),
    cache: cacheSettings
      .default(false)
      .describe(
        "store responses and use them again (RFC 9111); default: `true` for github with `revalidate`, otherwise `false`",
      ),
    idempotency: idempotencySettings
      .default(false)
      .describe(
        "send a POST or PATCH with an `Idempotency-Key` once, and replay its response to requests that repeat it",
      ),
    tls: tls.default({}).describe("TLS of connections to the upstream"),
    egressProxy: egressProxyMember
      .optional()
      .describe(
        "HTTP proxy for all connections to this upstream, without user info; `false` connects directly; default: `EGRESS_PROXY`",
      ),
    pathHints: pathHints.default([]).describe("refuses paths that the upstream does not have with 400 and a hint"),
  })
  .superRefine(checkBudget)
  .superRefine(checkAccess)
  .superRefine(checkMessages)
  .superRefine(checkPool)
  .superRefine(checkSignedService)
  .superRefine(({ http2, ws }, refinement) => {
    const message = "false with http2: a WebSocket needs HTTP/1.1";
    if (http2 && ws) refinement.addIssue({ code: "custom", path: ["ws"], message });
  });

export const serviceKey = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "a key of a-z, 0-9, `.`, `_` and `-`, at most 64 characters")
  .refine((key) => !(RESERVED_SERVICE_KEYS as readonly string[]).includes(key), "a key that is not reserved");

/** The services file as a whole. */
export const servicesFileSchema = z.strictObject({
  $schema: z.string().optional().describe("for editors; the gateway ignores it"),
  services: z.record(serviceKey, serviceSchema).default({}).describe("services by key"),
});

export type ServiceDefinition = z.output<typeof serviceSchema>;
export type ServiceInput = z.input<typeof serviceSchema>;
export type TlsDefinition = z.output<typeof tls>;

/** Upstreams with documented limits that their responses do not show. */
export type Vendor = "discord" | "github";
/** A service with all defaults filled in, as the rest of the code uses it. */
export interface Service
  extends Omit<
    ServiceDefinition,
    "timeoutMs" | "connectTimeoutMs" | "retries" | "name" | "quota" | "cache" | "idempotency"
  > {
  readonly key: string;
  readonly name: string;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly retries: number;
  readonly quota: Required<Omit<ServiceDefinition["quota"], "maxHoldMs">> & { readonly maxHoldMs?: number | undefined };
  /** Undefined without a cache. */
  readonly cache: CacheSettings | undefined;
  /** Undefined where it is off. */
  readonly idempotency: IdempotencySettings | undefined;
  /** The upstream with documented limits. */
  readonly vendor: Vendor | undefined;
  /** `preset`: built in, and not changed in the file. `runtime`: added over REST. `override`: replaces a service of the file or a preset, over REST. */
  readonly source: "preset" | "file" | "override" | "runtime";
  /** Undefined if the service has no `auth`. */
  readonly credential: CredentialSource | undefined;
  /** Undefined unless the service checks signatures. */
  readonly signingSecret: CredentialSource | undefined;
  /** Served by the embedded echo server, not over the network. */
  readonly embedded: boolean;
}

/** Services from REST have narrower rules than those of the operator's file. */
export function isFromRest(source: Service["source"]): boolean {
  return source === "runtime" || source === "override";
}
