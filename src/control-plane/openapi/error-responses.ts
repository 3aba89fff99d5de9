/**
 * The gateway's errors in the document: one body schema, and one response for each set of codes with the same status.
 * Invariant: they are generated from the catalog, by the function that makes the real responses.
 */
import { z } from "@hono/zod-openapi";
import { PERIODS } from "../../config/token-budget.ts";
import { CATALOG, type ErrorCode } from "../../error-catalog.ts";
import { GatewayError, type GatewayErrorOptions } from "../../errors.ts";
import { errorResponse } from "../../perimeter/refusals.ts";
import { type DescribedHeader, header } from "./operations.ts";

const CODES = Object.keys(CATALOG) as [ErrorCode, ...ErrorCode[]];

/** The body of every refusal. */
export const ErrorBody = z
  .strictObject({
    error: z.string().describe("the title of the code"),
    message: z.string().describe("what happened, for people; the text may change"),
    code: z.enum(CODES).describe("the error code, for programs"),
    status: z.int(),
    requestId: z.string().describe("the id of this request in the gateway's log, which has the cause"),
    service: z.string().optional(),
    path: z.string().optional().describe("the path after the service, if the service is known; without the query"),
    hint: z.string().describe("what to do"),
    documentation: z.literal("/docs"),
    details: z
      .record(z.string(), z.array(z.string()))
      .optional()
      .describe("`VALIDATION_ERROR`: the problems of each field"),
    required: z.string().optional().describe("`INSUFFICIENT_PERMISSIONS`: the permission that is missing"),
    availableServices: z.array(z.string()).optional().describe("`SERVICE_NOT_CONFIGURED`: at most 100"),
    hookCode: z.string().optional().describe("`REFUSED_BY_HOOK`: the code of the hook's own, if it has one"),
    pressure: z
      .strictObject({ gauge: z.string(), value: z.number(), limit: z.number() })
      .optional()
      .describe("`UNDER_PRESSURE`: the gauge that is above its limit"),
    rateLimit: z
      .strictObject({ reason: z.enum(["too long", "queue full"]), retryAfter: z.int().describe("seconds") })
      .optional()
      .describe("`RATE_LIMIT_EXCEEDED`, for a limit with `onLimit: wait`: why the request does not wait"),
    quota: z
      .strictObject({ bucket: z.string(), reason: z.enum(["too long", "queue full"]), retryAt: z.iso.datetime() })
      .optional()
      .describe("`UPSTREAM_QUOTA_EXHAUSTED`: what is used up, and until when"),
    budget: z
      .strictObject({
        of: z.enum(["key", "issuer", "service"]).describe("`issuer`: a key that issued the caller's key"),
        tokens: z.int(),
        per: z.enum(PERIODS),
        spent: z.int(),
        resetsAt: z.iso.datetime(),
      })
      .optional()
      .describe("`BUDGET_EXCEEDED`: what is spent, and until when"),
    models: z
      .array(z.string())
      .optional()
      .describe("`MODEL_NOT_ALLOWED`: patterns for the models that the key may use"),
  })
  .openapi("Error");

const KEY_NEEDED = {
  headers: {
    "WWW-Authenticate": header(
      '`Bearer`, for a token `Bearer error="invalid_token"`; under /proxy, except to browsers, also `Basic realm="ByteProxy"`',
    ),
  },
};
const RATE_LIMIT_HEADERS = ["RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining"];

interface ErrorDetails {
  readonly headers?: Readonly<Record<string, DescribedHeader>>;
  /** The options of a realistic error. Without it, the example has the default message. */
  readonly example?: GatewayErrorOptions;
}

/** Headers and examples of individual codes. */
const DETAILS: Readonly<Partial<Record<ErrorCode, ErrorDetails>>> = {
  VALIDATION_ERROR: {
    example: {
      message: "The service is not valid: baseUrl.",
      extra: { details: { baseUrl: ['found "ftp://x", allowed: an http:// or https:// URL'] } },
    },
  },
  MISSING_CREDENTIALS: KEY_NEEDED,
  INVALID_API_KEY: KEY_NEEDED,
  INVALID_SIGNATURE: { headers: { "WWW-Authenticate": header('`Signature realm="ByteProxy"`') } },
  TOKEN_EXPIRED: KEY_NEEDED,
  INVALID_TOKEN: KEY_NEEDED,
  UPSTREAM_CREDENTIAL_MISSING: KEY_NEEDED,
  SERVICE_NOT_CONFIGURED: {
    example: {
      message: 'Service "githb" is not configured. Did you mean "github"?',
      extra: { availableServices: ["echo", "discord", "github", "openai", "anthropic"] },
    },
  },
  INSUFFICIENT_PERMISSIONS: {
    example: {
      message: "The key may not do this: it needs github:POST:/user/repos.",
      extra: { required: "github:POST:/user/repos" },
    },
  },
  REFUSED_BY_HOOK: { example: { message: "Repositories are read-only here.", extra: { hookCode: "READ_ONLY" } } },
  METHOD_NOT_ALLOWED: {
    headers: { Allow: header("The methods that this route supports.") },
    example: { message: "This route does not support POST. It supports GET, HEAD." },
  },
  IDEMPOTENCY_CONFLICT: {
    headers: { "Retry-After": header("Seconds, if the key can be used again.", false, "integer") },
    example: { message: "The first request with this Idempotency-Key is still running." },
  },
  STORE_UNAVAILABLE: { headers: { "Retry-After": header("Seconds.", true, "integer") } },
  PRECONDITION_FAILED: { headers: { ETag: header("The current ETag of the resource.", false) } },
  UNSUPPORTED_MEDIA_TYPE: { headers: { Accept: header("`application/json`") } },
  RATE_LIMIT_EXCEEDED: {
    headers: {
      "Retry-After": header("Seconds.", true, "integer"),
      ...Object.fromEntries(RATE_LIMIT_HEADERS.map((name) => [name, header("The state of the exceeded limit.")])),
      "X-RateLimit-Reset": header("Seconds since the epoch.", true, "integer"),
    },
    example: { message: "Rate limit exceeded for github. Resets in 25 seconds." },
  },
  BUDGET_EXCEEDED: {
    headers: { "Retry-After": header("Seconds until the next window.", true, "integer") },
    example: {
      message: "The budget of this key is spent: 100000 tokens per day. The next day begins in 7384 seconds.",
      extra: {
        budget: { of: "key", tokens: 100_000, per: "day", spent: 100_412, resetsAt: "2026-11-30T00:00:00.000Z" },
      },
    },
  },
  MODEL_NOT_ALLOWED: {
    example: {
      message: "Refused: the key may not use the model o3-pro. The key is limited to: gpt-4o*.",
      extra: { models: ["gpt-4o*"] },
    },
  },
  TOO_MANY_AUTH_FAILURES: {
    headers: { "Retry-After": header("Seconds.", true, "integer") },
    example: { message: "Too many unknown keys came from this address within a minute." },
  },
  UPSTREAM_QUOTA_EXHAUSTED: {
    headers: {
      "Retry-After": header("Seconds.", true, "integer"),
      "X-Proxy-Queue-Duration": header("`10000ms`: how long the request waited.", false),
    },
    example: {
      message:
        "The quota of github is used up, and this request may not wait that long. It accepts requests again in 25 seconds.",
      extra: { quota: { bucket: "core", reason: "too long", retryAt: "2026-11-21T16:00:00.000Z" } },
    },
  },
  UNDER_PRESSURE: {
    headers: { "Retry-After": header("Seconds.", true, "integer") },
    example: {
      message: "The event loop's delay is 312 ms; PRESSURE_MAX_EVENT_LOOP_DELAY is 250.",
      extra: { pressure: { gauge: "eventLoopDelay", value: 312.4, limit: 250 } },
    },
  },
  TOKEN_KEYS_UNAVAILABLE: { headers: { "Retry-After": header("Seconds.", true, "integer") } },
  CIRCUIT_OPEN: {
    headers: { "Retry-After": header("Seconds.", true, "integer") },
    example: { message: "12 of 20 attempts at github failed; the next attempt is possible in 7 seconds." },
  },
};

/** References to the responses for these codes, by status. @param define called with the definition of each response. */
export function refusalsOf(
  codes: Iterable<ErrorCode>,
  define: (name: string, describe: () => object) => void,
): Record<string, { $ref: string }> {
  const refusals: Record<string, { $ref: string }> = {};
  const all = [...new Set(codes)].sort();
  for (const status of new Set(all.map((code) => CATALOG[code].status))) {
    const sorted = all.filter((code) => CATALOG[code].status === status);
    const name = `${status}.${sorted.join(".")}`;
    define(name, () => describeRefusal(status, sorted));
    refusals[status] = { $ref: `#/components/responses/${name}` };
  }
  return refusals;
}

function describeRefusal(status: number, codes: readonly ErrorCode[]) {
  const own = { properties: { status: { const: status }, code: { enum: codes } } };
  return {
    description: codes.map((code) => `\`${code}\`: ${CATALOG[code].title}. ${CATALOG[code].hint}`).join("\n\n"),
    headers: headersOf(codes),
    content: {
      "application/json": {
        schema: { allOf: [{ $ref: "#/components/schemas/Error" }, own] },
        examples: Object.fromEntries(codes.map((code) => [code, { value: exampleOf(code) }])),
      },
    },
  };
}

/** A header that not all of the codes have is optional. */
function headersOf(codes: readonly ErrorCode[]): Record<string, DescribedHeader> {
  const all: Record<string, DescribedHeader> = {
    "X-Proxy-Error": header("The error code. Only responses from the gateway itself have it."),
    "X-Proxy-Request-Id": header("The `requestId`."),
    "Cache-Control": header("`no-store`"),
  };
  const each = codes.map((code) => ({
    ...("proxyStatus" in CATALOG[code] ? { "Proxy-Status": header("RFC 9209.") } : {}),
    ...DETAILS[code]?.headers,
  }));
  for (const headers of each) {
    for (const [name, described] of Object.entries(headers)) {
      all[name] = { ...described, required: described.required && each.every((others) => name in others) };
    }
  }
  return all;
}

function exampleOf(code: ErrorCode): unknown {
  const error = new GatewayError(code, DETAILS[code]?.example);
  const request = { requestId: "6d85a480-1a16-4d9a-82a3-a8ca114eeb5e" };
  return JSON.parse(errorResponse(error, request, (text) => text).body);
}
