/** The data plane in the document: what goes through it is the upstream's, so that only what the gateway adds is described. */
import type { RouteConfig } from "@hono/zod-openapi";
import type { ErrorCode } from "../../errors.ts";
import { forCallers, header, SERVICE_IN_PATH } from "./operations.ts";

const METHODS = ["get", "head", "post", "put", "patch", "delete", "options"] as const;

const REFUSALS = [
  "INSUFFICIENT_PERMISSIONS",
  "IP_NOT_ALLOWED",
  "SERVICE_NOT_CONFIGURED",
  "UPSTREAM_CREDENTIAL_MISSING",
  "EGRESS_NOT_ALLOWED",
  "PAYLOAD_TOO_LARGE",
  "RATE_LIMIT_EXCEEDED",
  "UPSTREAM_QUOTA_EXHAUSTED",
  "UNDER_PRESSURE",
  "CIRCUIT_OPEN",
  "SHUTTING_DOWN",
  "UPSTREAM_UNREACHABLE",
  "UPSTREAM_TLS_ERROR",
  "UPSTREAM_PROTOCOL_ERROR",
  "UPSTREAM_TIMEOUT",
] satisfies readonly ErrorCode[];

const DESCRIPTION = `What follows \`/proxy/{service}\` is appended to the service's base URL byte for byte, slashes and query
included; nothing after it asks for the base itself. The caller's key stays here, the service's credential goes on instead.

An answer with \`X-Proxy-Error\` is the gateway's own. One without it is the upstream's, whatever its status.`;

const ANSWER = {
  description: "The upstream's answer, whatever its status.",
  headers: {
    "X-Proxy-Service": header("The service's key."),
    "X-Proxy-Duration": header("`12ms`: to the upstream's headers."),
    "X-Proxy-Queue-Duration": header(
      "`1200ms`: of that, waited for the upstream's quota or for a connection to it.",
      false,
    ),
    "X-Proxy-Request-Id": header("As in the gateway's log."),
    "X-Request-Id": header("The upstream's; ours where it sent none."),
    RateLimit: header("Where the service has a limit of ours, next to the upstream's own.", false),
    "RateLimit-Policy": header("As `RateLimit`.", false),
  },
  content: { "*/*": {} },
};

const PATH = {
  name: "path",
  in: "path" as const,
  required: true,
  schema: { type: "string" as const },
  description: "Any path, slashes included. A dot segment, in any spelling, is refused.",
  example: "users/octocat",
};

/** One for each method; those that have no name here are forwarded, too. */
export function proxyOperations(): RouteConfig[] {
  return METHODS.map((method) => ({
    method,
    path: "/proxy/{service}/{path}",
    operationId: `proxy_${method}`,
    summary: `Forwards ${method.toUpperCase()}`,
    description: DESCRIPTION,
    parameters: [SERVICE_IN_PATH, PATH],
    ...forCallers("Proxy", ...REFUSALS, ...(method === "get" ? (["UPGRADE_NOT_ALLOWED"] as const) : [])),
    ...(method === "get" || method === "head" || method === "options"
      ? {}
      : { request: { body: { required: false, description: "Sent on unchanged.", content: { "*/*": {} } } } }),
    responses: { ...ownAnswers(method), default: ANSWER },
  }));
}

function ownAnswers(method: (typeof METHODS)[number]): RouteConfig["responses"] {
  if (method === "get") return { 101: { description: "A WebSocket is open, where the service has `ws: true`." } };
  if (method !== "options") return {};
  return { 204: { description: "To a preflight of a listed origin, before any key is asked for; or the upstream's." } };
}
