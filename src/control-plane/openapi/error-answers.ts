/**
 * The gateway's refusals in the document: the one form of all errors, and an answer for each set of codes that share a status.
 * Invariant: made of the catalogue and by the function that makes the real ones.
 */
import { z } from "@hono/zod-openapi";
import { CATALOG, type ErrorCode, GatewayError, type GatewayErrorOptions } from "../../errors.ts";
import { errorResponse } from "../../perimeter/refusals.ts";
import { type DescribedHeader, header } from "./operations.ts";

const CODES = Object.keys(CATALOG) as [ErrorCode, ...ErrorCode[]];

/** The body of every refusal. */
export const ErrorBody = z
  .strictObject({
    error: z.string().describe("title of the code"),
    message: z.string().describe("what happened, for people; the words may change"),
    code: z.enum(CODES).describe("what a program looks at"),
    status: z.int(),
    requestId: z.string().describe("stands in the gateway's log, with the cause"),
    service: z.string().optional(),
    path: z.string().optional().describe("behind the service where it is known; without the query"),
    hint: z.string().describe("what to do about it"),
    documentation: z.literal("/docs"),
    details: z.record(z.string(), z.array(z.string())).optional().describe("`VALIDATION_ERROR`: field to problems"),
    required: z.string().optional().describe("`INSUFFICIENT_PERMISSIONS`: the permission that is missing"),
    availableServices: z.array(z.string()).optional().describe("`SERVICE_NOT_CONFIGURED`: at most 100"),
    pressure: z
      .strictObject({ gauge: z.string(), value: z.number(), limit: z.number() })
      .optional()
      .describe("`UNDER_PRESSURE`: what there is too much of"),
    quota: z
      .strictObject({ bucket: z.string(), reason: z.enum(["too long", "queue full"]), retryAt: z.iso.datetime() })
      .optional()
      .describe("`UPSTREAM_QUOTA_EXHAUSTED`: what is used up, and until when"),
  })
  .openapi("Error");

const KEY_NEEDED = { headers: { "WWW-Authenticate": header("`Bearer`") } };
const RATE_LIMIT_HEADERS = ["RateLimit", "RateLimit-Policy", "X-RateLimit-Limit", "X-RateLimit-Remaining"];

interface Particulars {
  readonly headers?: Readonly<Record<string, DescribedHeader>>;
  /** Of a real refusal, where its title alone says too little. */
  readonly example?: GatewayErrorOptions;
}

/** What some codes have that others do not. */
const PARTICULARS: Readonly<Partial<Record<ErrorCode, Particulars>>> = {
  VALIDATION_ERROR: {
    example: {
      message: "The service is not valid: baseUrl.",
      extra: { details: { baseUrl: ['found "ftp://x", allowed: an http:// or https:// URL'] } },
    },
  },
  MISSING_CREDENTIALS: KEY_NEEDED,
  INVALID_API_KEY: KEY_NEEDED,
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
  METHOD_NOT_ALLOWED: {
    headers: { Allow: header("The methods that are offered here.") },
    example: { message: "POST is not offered here; GET, HEAD is." },
  },
  PRECONDITION_FAILED: { headers: { ETag: header("Of what is there now.", false) } },
  UNSUPPORTED_MEDIA_TYPE: { headers: { Accept: header("`application/json`") } },
  RATE_LIMIT_EXCEEDED: {
    headers: {
      "Retry-After": header("s", true, "integer"),
      ...Object.fromEntries(RATE_LIMIT_HEADERS.map((name) => [name, header("Of the limit that is exceeded.")])),
      "X-RateLimit-Reset": header("Seconds since the epoch.", true, "integer"),
    },
    example: { message: "Rate limit exceeded for github. Resets in 25 seconds." },
  },
  TOO_MANY_AUTH_FAILURES: {
    headers: { "Retry-After": header("s", true, "integer") },
    example: { message: "Too many unknown keys came from this address within a minute." },
  },
  UPSTREAM_QUOTA_EXHAUSTED: {
    headers: {
      "Retry-After": header("s", true, "integer"),
      "X-Proxy-Queue-Duration": header("`10000ms`: it waited that long.", false),
    },
    example: {
      message:
        "The quota of github is used up, and this request may not wait that long. It accepts requests again in 25 seconds.",
      extra: { quota: { bucket: "core", reason: "too long", retryAt: "2026-11-21T16:00:00.000Z" } },
    },
  },
  UNDER_PRESSURE: {
    headers: { "Retry-After": header("s", true, "integer") },
    example: {
      message: "The event loop's delay is 312 ms; PRESSURE_MAX_EVENT_LOOP_DELAY is 250.",
      extra: { pressure: { gauge: "eventLoopDelay", value: 312.4, limit: 250 } },
    },
  },
  CIRCUIT_OPEN: {
    headers: { "Retry-After": header("s", true, "integer") },
    example: { message: "12 of 20 attempts at github failed; it is tried again in 7 seconds." },
  },
};

/** By status, the names of the answers to these codes; `define` is told of each of them. */
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

/** One that not all of the codes have may be missing. */
function headersOf(codes: readonly ErrorCode[]): Record<string, DescribedHeader> {
  const all: Record<string, DescribedHeader> = {
    "X-Proxy-Error": header("The code. Only on the gateway's own answers."),
    "X-Proxy-Request-Id": header("The `requestId`."),
    "Cache-Control": header("`no-store`"),
  };
  const each = codes.map((code) => ({
    ...("proxyStatus" in CATALOG[code] ? { "Proxy-Status": header("RFC 9209.") } : {}),
    ...PARTICULARS[code]?.headers,
  }));
  for (const headers of each) {
    for (const [name, described] of Object.entries(headers)) {
      all[name] = { ...described, required: described.required && each.every((others) => name in others) };
    }
  }
  return all;
}

function exampleOf(code: ErrorCode): unknown {
  const error = new GatewayError(code, PARTICULARS[code]?.example);
  const request = { requestId: "6d85a480-1a16-4d9a-82a3-a8ca114eeb5e" };
  return JSON.parse(errorResponse(error, request, (text) => text).body);
}
