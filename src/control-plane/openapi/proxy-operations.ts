/** The data plane in the document. Requests and responses are defined by the upstreams: only what the gateway adds is described. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { ErrorCode } from "../../error-catalog.ts";
import { forCallers, header, SERVICE_IN_PATH } from "./operations.ts";

const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"] as const;

const REFUSALS = [
  "INSUFFICIENT_PERMISSIONS",
  "MODEL_NOT_ALLOWED",
  "IP_NOT_ALLOWED",
  "SERVICE_NOT_CONFIGURED",
  "INVALID_SIGNATURE",
  "REFUSED_BY_HOOK",
  "UPSTREAM_CREDENTIAL_MISSING",
  "EGRESS_NOT_ALLOWED",
  "PAYLOAD_TOO_LARGE",
  "RATE_LIMIT_EXCEEDED",
  "BUDGET_EXCEEDED",
  "UPSTREAM_QUOTA_EXHAUSTED",
  "UNDER_PRESSURE",
  "CIRCUIT_OPEN",
  "SHUTTING_DOWN",
  "UPSTREAM_UNREACHABLE",
  "UPSTREAM_TLS_ERROR",
  "UPSTREAM_PROTOCOL_ERROR",
  "REDIRECT_BLOCKED",
  "UPSTREAM_CREDENTIAL_UNAVAILABLE",
  "UPSTREAM_TIMEOUT",
  "NOT_CACHED",
  "IDEMPOTENCY_CONFLICT",
  "IDEMPOTENCY_MISMATCH",
  "STORE_UNAVAILABLE",
] satisfies readonly ErrorCode[];

const DESCRIPTION = `The gateway appends everything after \`/proxy/{service}\` to the service's base URL byte for byte, including slashes and
the query. It removes the caller's key and adds the service's credential.

A response with the header \`X-Proxy-Error\` comes from the gateway. A response without it comes from the upstream, with any status.`;

const UPSTREAM_RESPONSE = {
  description: "The upstream's response, with any status.",
  headers: {
    "X-Proxy-Service": header("The service's key."),
    "X-Proxy-Duration": header("`12ms`: the time until the upstream's response headers."),
    "X-Proxy-Queue-Duration": header(
      "`1200ms`: the part of that time that the request waited for a rate limit, for quota or for a connection.",
      false,
    ),
    "X-Proxy-Cache": header("What the cache did, if the service has one: `hit`, `miss`, `revalidated` …", false),
    "Cache-Status": header("The same with details (RFC 9211), after those of the upstream's caches.", false),
    "X-Proxy-Request-Id": header("The id of this request in the gateway's log."),
    "X-Request-Id": header("The id from the upstream, or the gateway's if the upstream sent none."),
    "Idempotency-Replayed": header("`true`: the kept response to an equal request.", false),
    RateLimit: header(
      "If the service has a limit in the gateway. Sent in addition to the upstream's own limit headers.",
      false,
    ),
    "RateLimit-Policy": header("Like `RateLimit`.", false),
  },
  content: { "*/*": {} },
};

const IDEMPOTENCY_KEY = {
  name: "Idempotency-Key",
  in: "header" as const,
  required: false,
  description: "For a service with `idempotency`: equal requests with this key are sent once.",
  schema: { type: "string" as const },
};

const PATH = {
  name: "path",
  in: "path" as const,
  required: true,
  schema: { type: "string" as const },
  description: "Any path, including slashes. Dot segments are refused in any encoding.",
  example: "users/octocat",
};

/** One operation per method. The gateway also forwards methods that are not listed here. */
export function proxyOperations(): RouteConfig[] {
  return METHODS.map((method) => ({
    method,
    path: "/proxy/{service}/{path}",
    operationId: `proxy_${method}`,
    summary: `Forward ${method.toUpperCase()} to the upstream`,
    description: DESCRIPTION,
    parameters: [SERVICE_IN_PATH, PATH, ...(method === "post" || method === "patch" ? [IDEMPOTENCY_KEY] : [])],
    ...forCallers("Proxy", ...REFUSALS, ...(method === "get" ? (["UPGRADE_NOT_ALLOWED"] as const) : [])),
    ...(method === "get" || method === "head" || method === "options"
      ? {}
      : { request: { body: { required: false, description: "Forwarded unchanged.", content: { "*/*": {} } } } }),
    responses: { ...gatewayResponses(method), default: UPSTREAM_RESPONSE },
  }));
}

function gatewayResponses(method: (typeof METHODS)[number]): RouteConfig["responses"] {
  if (method === "get") return { 101: { description: "A WebSocket is open. Requires `ws: true` for the service." } };
  if (method !== "options") return {};
  return {
    204: {
      description: "The response to a preflight from a listed origin, which needs no key; or the upstream's response.",
    },
  };
}
