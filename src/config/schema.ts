/**
 * The services file: its shape, defaults and words, described once.
 * The types, the editor schema in config/ and docs/configuration.md all come from here.
 */
import { RE2JS } from "re2js";
import { z } from "zod";
import { headerMap, headerName } from "./configured-headers.ts";

/** Segments after /proxy/ that belong to the gateway itself. */
export const RESERVED_SERVICE_KEYS = ["services", "auth-test", "manage", "constructor", "prototype"] as const;

/** setTimeout and the limiter's memory store overflow above this many ms (24.8 days) and would then never limit. */
export const LONGEST_TIMER_MS = 2_147_483_647;

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] as const;

const baseUrl = z
  .string()
  .superRefine((text, refinement) => {
    const problem = baseUrlProblem(text);
    if (problem !== undefined) refinement.addIssue({ code: "custom", message: problem });
  })
  .meta({ allowed: "an http:// or https:// URL" });

function baseUrlProblem(text: string): string | undefined {
  if (!/^https?:\/\//i.test(text)) return "an http:// or https:// URL";
  if (!URL.canParse(text)) return "a well-formed URL";
  const url = new URL(text);
  if (url.username !== "" || url.password !== "") return "a URL without user info (the secret belongs in auth)";
  if (text.includes("?") || text.includes("#")) return "a URL without query and fragment";
  // Requests append to this text byte for byte, so it must already be what a URL parser makes of it.
  const path = text.slice(text.indexOf("://") + 3).replace(/^[^/]*/, "") || "/";
  if (path !== url.pathname)
    return "a path in its normal form: no dot segments, no \\, and what needs it percent-encoded";
  return undefined;
}

const milliseconds = z.int().min(1).max(LONGEST_TIMER_MS);

const auth = z
  .strictObject({
    type: z
      .enum(["bearer", "bot", "basic", "api-key"])
      .describe("`bearer`, `bot` (`Authorization: Bot …`), `basic` (the secret is `user:password`) or `api-key`"),
    tokenEnvVar: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "the name of an environment variable")
      .meta({ allowed: "the name of an environment variable" })
      .optional()
      .describe("variable that holds the secret"),
    tokenFile: z.string().min(1).optional().describe("file that holds the secret; trailing newlines are cut"),
    headerName: headerName.optional().describe("`api-key`: the header that carries the secret"),
    queryParam: z
      .string()
      .regex(/^[A-Za-z0-9_.~-]+$/, "a parameter name of letters, digits, `_`, `.`, `~` and `-`")
      .optional()
      .describe("`api-key`: the query parameter that carries the secret"),
    required: z
      .boolean()
      .default(true)
      .describe("without the secret, `true` answers 401 `UPSTREAM_CREDENTIAL_MISSING`; `false` sends without it"),
  })
  .superRefine((value, refinement) => {
    const problem = (message: string) => refinement.addIssue({ code: "custom", message });
    if ((value.tokenEnvVar === undefined) === (value.tokenFile === undefined)) {
      problem("exactly one of tokenEnvVar and tokenFile");
    }
    if (value.type === "api-key" && (value.headerName === undefined) === (value.queryParam === undefined)) {
      problem("exactly one of headerName and queryParam for type api-key");
    }
    if (value.type !== "api-key" && (value.headerName ?? value.queryParam) !== undefined) {
      problem("headerName and queryParam only for type api-key");
    }
  });

const rateLimit = z.strictObject({
  maxRequests: z.int().min(1).max(1_000_000_000).describe("requests a window"),
  windowMs: z.int().min(1000).max(LONGEST_TIMER_MS).describe("length of the fixed window, ms; at most 24.8 days"),
  per: z.enum(["service", "caller", "ip"]).default("service").describe("what is counted together"),
});

const quota = z.strictObject({
  mode: z
    .enum(["off", "observe", "hold"])
    .optional()
    .describe(
      "`observe` learns the upstream's limits from its answers; `hold` also lets a request wait until it will succeed; default: `hold` for discord and github, else `observe`",
    ),
  maxWaitMs: z
    .int()
    .min(0)
    .max(LONGEST_TIMER_MS)
    .default(10_000)
    .describe("`hold`: ms that a request waits at most; a caller's `Prefer: wait=<s>` counts for more"),
  maxQueue: z
    .int()
    .min(0)
    .max(100_000)
    .default(1_000)
    .describe("`hold`: requests that wait at the same time, a credential"),
});

const breaker = z.union([
  z.literal(false),
  z.strictObject({
    failureRatio: z
      .number()
      .gt(0)
      .max(1)
      .meta({ allowed: "a number above 0, up to 1" })
      .default(0.5)
      .describe("share of attempts within the window that must fail to open it"),
    minRequests: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(20)
      .describe("attempts within the window below which it never opens"),
    windowMs: z.int().min(100).max(LONGEST_TIMER_MS).default(10_000).describe("ms that are looked back"),
    openMs: milliseconds.default(10_000).describe("ms in which nothing is sent, before one attempt finds out"),
  }),
]);

const tls = z.strictObject({
  strict: z.boolean().optional().describe("verify the certificate; default: `STRICT_TLS`"),
  caFile: z.string().min(1).optional().describe("PEM file of the authority to trust, instead of the public ones"),
  certFile: z.string().min(1).optional().describe("PEM file of the client certificate"),
  keyFile: z.string().min(1).optional().describe("PEM file of the client certificate's key"),
  servername: z.string().min(1).optional().describe("name to ask for and verify (SNI), instead of the URL's host"),
});

const pathHint = z.strictObject({
  match: z
    .string()
    .max(1000)
    .refine(isPattern, "a regular expression without look-around and back references (RE2)")
    .describe("regular expression (RE2: none takes longer than the path is long) over the path behind the service key"),
  message: z.string().min(1).describe("what is wrong"),
  hint: z.string().min(1).optional().describe("what to ask for instead"),
});

function isPattern(source: string): boolean {
  try {
    RE2JS.compile(source);
    return true;
  } catch {
    return false;
  }
}

/** One service as the file may state it. */
export const serviceSchema = z.strictObject({
  name: z.string().min(1).max(200).optional().describe("name for people; default: the key"),
  baseUrl: baseUrl.describe("where requests go: http or https, no user info, query or fragment"),
  versionedBaseUrls: z
    .record(
      z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "a path segment of letters, digits, `.`, `_` and `-`"),
      baseUrl,
    )
    .default({})
    .describe("a first path segment equal to a key here selects that base and is dropped"),
  headers: headerMap.default({}).describe("request headers sent when the caller sends none of that name"),
  setHeaders: headerMap.default({}).describe("request headers that replace the caller's"),
  removeHeaders: z.array(headerName).default([]).describe("request headers that are not forwarded"),
  auth: auth.optional().describe("the credential that the gateway puts on each request"),
  rateLimit: rateLimit.optional().describe("our own limit for this service"),
  timeoutMs: milliseconds
    .optional()
    .describe("ms to the answer's headers, all attempts and back-off included; default: `NETWORK_TIMEOUT`"),
  connectTimeoutMs: milliseconds.optional().describe("ms to connect; default: `NETWORK_CONNECT_TIMEOUT`"),
  idleTimeoutMs: z
    .int()
    .min(0)
    .max(LONGEST_TIMER_MS)
    .optional()
    .describe("ms of silence inside a body, 0 for no limit; default 300000, and none for `text/event-stream`"),
  retries: z.int().min(0).max(10).optional().describe("retries of a replayable request; default: `NETWORK_RETRIES`"),
  methods: z.array(z.enum(METHODS)).min(1).optional().describe("methods that callers may use; default: all"),
  ws: z.boolean().default(false).describe("let WebSocket connections through"),
  cookies: z.boolean().default(false).describe("let `Cookie` and `Set-Cookie` pass, scoped to this service's path"),
  forwardedHeaders: z
    .boolean()
    .default(false)
    .describe("tell the upstream of the client (`X-Forwarded-*`, `Forwarded`)"),
  rewriteLinks: z.boolean().default(true).describe("turn links to the upstream in headers into links to the gateway"),
  pathPolicy: z.enum(["strict", "raw"]).default("strict").describe("`raw` lets dot segments through (object stores)"),
  maxBodyBytes: z.int().min(0).default(0).describe("largest request body, 0 for no limit"),
  maxConcurrent: z.int().min(0).max(1_000_000).default(0).describe("requests in flight at the same time, 0 for no cap"),
  maxConnections: z
    .int()
    .min(1)
    .max(65_535)
    .default(1_024)
    .describe("connections to the upstream, one for each request on its way; WebSockets are not counted"),
  maxPending: z
    .int()
    .min(0)
    .max(100_000)
    .default(4_096)
    .describe("requests that may wait for a connection, each until its `timeoutMs`"),
  maxWebSockets: z.int().min(0).max(1_000_000).default(0).describe("WebSockets open at the same time, 0 for no cap"),
  access: z
    .enum(["key", "public"])
    .default("key")
    .describe("who may call: whoever has a key of the proxy plane, or anybody"),
  quota: quota.prefault({}).describe("what the upstream allows, learned from its answers"),
  breaker: breaker
    .prefault({})
    .describe("stops asking an upstream that fails (503 `CIRCUIT_OPEN`) until it is back; `false` never does"),
  tls: tls.default({}).describe("TLS towards the upstream"),
  pathHints: z
    .array(pathHint)
    .default([])
    .describe("answers 400 with a hint for paths that the upstream does not know"),
});

export const serviceKey = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/, "a key of a-z, 0-9, `.`, `_` and `-`, at most 64 long")
  .refine((key) => !(RESERVED_SERVICE_KEYS as readonly string[]).includes(key), "a key that is not reserved");

/** The services file as a whole. */
export const servicesFileSchema = z.strictObject({
  $schema: z.string().optional().describe("for editors; not read"),
  services: z.record(serviceKey, serviceSchema).default({}).describe("services by key"),
});

export type ServiceDefinition = z.output<typeof serviceSchema>;
export type ServiceInput = z.input<typeof serviceSchema>;
export type AuthDefinition = z.output<typeof auth>;
export type RateLimitDefinition = z.output<typeof rateLimit>;
export type TlsDefinition = z.output<typeof tls>;

/** Where a service's credential comes from, and the secret itself where there is one. */
export interface CredentialSource {
  /** For people: `GITHUB_TOKEN` or `file:/run/secrets/token`. Never a part of the secret. */
  readonly source: string;
  readonly secret: import("./secret.ts").Secret | undefined;
  /** Absolute path, where it comes from a file. */
  readonly path?: string;
  /** Why a secret that may well be there is not used, and what would change that. */
  readonly withheld?: { readonly message: string; readonly hint: string };
}

/** Upstreams whose limits are known beyond what their answers tell. */
export type Vendor = "discord" | "github";

/** A service with every default filled in: what the rest of the program works with. */
export interface Service
  extends Omit<ServiceDefinition, "timeoutMs" | "connectTimeoutMs" | "retries" | "name" | "quota"> {
  readonly key: string;
  readonly name: string;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly retries: number;
  readonly quota: Required<ServiceDefinition["quota"]>;
  /** The upstream whose documented limits are known. */
  readonly vendor: Vendor | undefined;
  /** `preset`: built in and not named in the file; `runtime` and `override`: from over REST, the latter in the place of one of the others. */
  readonly source: "preset" | "file" | "override" | "runtime";
  /** Undefined when the service has no `auth`. */
  readonly credential: CredentialSource | undefined;
  /** Answered by the embedded echo server rather than over the network. */
  readonly embedded: boolean;
}

/** What came over REST is held to narrower rules than what the operator's file says. */
export function isFromRest(source: Service["source"]): boolean {
  return source === "runtime" || source === "override";
}
