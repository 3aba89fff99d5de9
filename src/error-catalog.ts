/**
 * The catalog of all errors that the gateway itself can return: code, status, public title, hint.
 * Invariant: a public message never contains a secret or a cause; the cause goes to the log only.
 */
export interface CatalogEntry {
  /** HTTP status of the response. */
  readonly status: number;
  /** Public title: the `error` member of the body. */
  readonly title: string;
  /** What to do. A thrown error may carry a more specific hint. */
  readonly hint: string;
  /** Error type of RFC 9209 section 2.3, if one fits. */
  readonly proxyStatus?: string;
}

export const CATALOG = {
  INVALID_REQUEST: {
    status: 400,
    title: "Invalid request",
    hint: "Send one well-formed HTTP/1.1 request. Frame its body with one Content-Length header or with Transfer-Encoding: chunked.",
    proxyStatus: "http_request_error",
  },
  INVALID_PATH: {
    status: 400,
    title: "Invalid path",
    hint: "Request /proxy/<service>/<path>, or /<path> at the service's own host or port. The path must not contain dot segments, control characters or malformed percent-encoding.",
    proxyStatus: "http_request_error",
  },
  HOST_HEADER_INVALID: {
    status: 400,
    title: "Invalid Host header",
    hint: "Send exactly one Host header with a host name or an address and an optional port.",
    proxyStatus: "http_request_error",
  },
  VALIDATION_ERROR: {
    status: 400,
    title: "Validation failed",
    hint: "Fix the fields listed in `details` and send the request again.",
  },
  MISSING_CREDENTIALS: {
    status: 401,
    title: "Authentication required",
    hint: "Send the key as `Authorization: Bearer <key>`, as `x-api-key: <key>` or as `?api_key=<key>`. Under /proxy, an SDK may also send it where the service's own API has its credential.",
    proxyStatus: "http_request_denied",
  },
  INVALID_API_KEY: {
    status: 401,
    title: "Invalid API key",
    hint: "Check that the key is complete, has no extra whitespace, and is of the kind named in the message.",
    proxyStatus: "http_request_denied",
  },
  INVALID_SIGNATURE: {
    status: 401,
    title: "Invalid signature",
    hint: "Sign the raw body with the secret of this service, with a current time, and send each request once. The gateway's log and its status have the reason.",
    proxyStatus: "http_request_denied",
  },
  TOKEN_EXPIRED: {
    status: 401,
    title: "Token expired",
    hint: "Get a new token from the issuer and send the request again.",
    proxyStatus: "http_request_denied",
  },
  INVALID_TOKEN: {
    status: 401,
    title: "Invalid token",
    hint: "Send a token that the issuer made for this gateway. The operator finds the required issuer and audience in JWT_ISSUER and JWT_AUDIENCE.",
    proxyStatus: "http_request_denied",
  },
  UPSTREAM_CREDENTIAL_MISSING: {
    status: 401,
    title: "Upstream credential missing",
    hint: "Set the variable named in the message and restart, or set it in .env and reload. Credential files are reloaded automatically. To send requests without a credential, set `auth.required` to false for this service.",
    proxyStatus: "proxy_configuration_error",
  },
  ORIGIN_NOT_ALLOWED: {
    status: 403,
    title: "Origin not allowed",
    hint: "Add the origin to CORS_ORIGINS, or set PROXY_API_KEY so that the plane is protected by a key.",
    proxyStatus: "http_request_denied",
  },
  HOST_NOT_ALLOWED: {
    status: 403,
    title: "Host not allowed",
    hint: "Add the name to ALLOWED_HOSTS, or set PROXY_API_KEY so that the plane is protected by a key.",
    proxyStatus: "http_request_denied",
  },
  EGRESS_NOT_ALLOWED: {
    status: 403,
    title: "Egress not allowed",
    hint: "Set `baseUrl` to an address that the gateway may connect to. EGRESS_ALLOW_PRIVATE=true allows private addresses. Link-local and metadata addresses and the gateway itself are never allowed.",
    proxyStatus: "destination_ip_prohibited",
  },
  INSUFFICIENT_PERMISSIONS: {
    status: 403,
    title: "Insufficient permissions",
    hint: "Ask the operator for a key with the permission in `required`.",
    proxyStatus: "http_request_denied",
  },
  REFUSED_BY_HOOK: {
    status: 403,
    title: "Refused by a hook",
    hint: "A user hook of this gateway (MIDDLEWARE_PATH) refused the request. The message, and `hookCode` if there is one, are the hook's own; the hook also chooses the status.",
    proxyStatus: "http_request_denied",
  },
  MODEL_NOT_ALLOWED: {
    status: 403,
    title: "Model not allowed",
    hint: "Ask for one of the models in `models`, in one member `model` of a JSON body without a Content-Encoding, or ask the operator to change `models` of the key.",
    proxyStatus: "http_request_denied",
  },
  IP_NOT_ALLOWED: {
    status: 403,
    title: "Address not allowed",
    hint: "Send the request from an address in the key's `allowIps`, or ask the operator to add this address.",
    proxyStatus: "http_request_denied",
  },
  SERVICE_NOT_CONFIGURED: {
    status: 404,
    title: "Service not configured",
    hint: "Use one of the services in `availableServices`, or add this service to the services file.",
    proxyStatus: "destination_not_found",
  },
  NOT_FOUND: { status: 404, title: "Not found", hint: "GET / lists all routes." },
  METHOD_NOT_ALLOWED: {
    status: 405,
    title: "Method not allowed",
    hint: "Use one of the methods in the Allow header.",
    proxyStatus: "http_request_denied",
  },
  REQUEST_TIMEOUT: {
    status: 408,
    title: "Request timeout",
    hint: "Send the whole request without long pauses.",
    proxyStatus: "http_request_error",
  },
  DUPLICATE_ENTRY: {
    status: 409,
    title: "Duplicate entry",
    hint: "Use PUT or PATCH to change the existing service, or choose another key.",
  },
  READ_ONLY_SERVICE: {
    status: 409,
    title: "Read-only service",
    hint: "The service is built in or defined in the services file. Remove it from that file, or override it with PUT or PATCH.",
  },
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    title: "Idempotency conflict",
    hint: "Wait for the number of seconds in Retry-After, and send the request again with the same Idempotency-Key.",
  },
  CREDENTIAL_ROTATION_CONFLICT: { status: 409, title: "Rotation conflict", hint: "GET /status shows the stage." },
  PRECONDITION_FAILED: {
    status: 412,
    title: "Precondition failed",
    hint: "Read the resource again and repeat the change with its current ETag.",
  },
  PAYLOAD_TOO_LARGE: {
    status: 413,
    title: "Payload too large",
    hint: "Send a smaller body, or raise `maxBodyBytes` for this service.",
    proxyStatus: "http_request_denied",
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    title: "Unsupported media type",
    hint: "Send the body as `Content-Type: application/json`, without a Content-Encoding.",
  },
  EXPECTATION_FAILED: {
    status: 417,
    title: "Expectation failed",
    hint: "Remove the Expect header, or send `Expect: 100-continue`. No other expectation is supported.",
    proxyStatus: "http_request_error",
  },
  IDEMPOTENCY_MISMATCH: {
    status: 422,
    title: "Idempotency mismatch",
    hint: "Send a different request with an Idempotency-Key of its own.",
  },
  NEXT_CREDENTIAL_REFUSED: { status: 422, title: "Next credential refused", hint: "Check it at its provider." },
  UPGRADE_NOT_ALLOWED: {
    status: 426,
    title: "Upgrade not allowed",
    hint: "Set `ws: true` for this service to allow WebSocket connections.",
    proxyStatus: "http_upgrade_failed",
  },
  RATE_LIMIT_EXCEEDED: {
    status: 429,
    title: "Rate limit exceeded",
    hint: "Wait for the number of seconds in Retry-After, or raise `rateLimit` for this service.",
    proxyStatus: "http_request_denied",
  },
  BUDGET_EXCEEDED: {
    status: 429,
    title: "Budget exceeded",
    hint: "Wait for the number of seconds in Retry-After, or ask the operator to raise the `budget` of the key or the service.",
    proxyStatus: "http_request_denied",
  },
  TOO_MANY_AUTH_FAILURES: {
    status: 429,
    title: "Too many authentication failures",
    hint: "Wait for the number of seconds in Retry-After. Keys that were accepted from this address within the last hour still work.",
    proxyStatus: "http_request_denied",
  },
  UPSTREAM_QUOTA_EXHAUSTED: {
    status: 429,
    title: "Upstream quota exhausted",
    hint: "Wait for the number of seconds in Retry-After. To let the gateway hold requests longer, send `Prefer: wait=<seconds>` or raise `quota.maxWaitMs` for this service.",
    proxyStatus: "http_request_denied",
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    title: "Request headers too large",
    hint: "Send fewer or smaller headers, or a shorter URL. The limit is 16 KiB and 256 header lines.",
    proxyStatus: "http_request_error",
  },
  INTERNAL_ERROR: {
    status: 500,
    title: "Internal error",
    hint: "Search the gateway's log for this `requestId`.",
    proxyStatus: "proxy_internal_error",
  },
  NOT_IMPLEMENTED: {
    status: 501,
    title: "Not implemented",
    hint: "Send the body with a Content-Length header or with `Transfer-Encoding: chunked`. No other transfer coding is supported.",
    proxyStatus: "http_request_error",
  },
  UPSTREAM_UNREACHABLE: {
    status: 502,
    title: "Upstream unreachable",
    hint: "Check `baseUrl` of this service and that the gateway's host can reach it.",
    proxyStatus: "destination_unavailable",
  },
  UPSTREAM_TLS_ERROR: {
    status: 502,
    title: "Upstream TLS error",
    hint: "Check the system clock and the upstream's certificate. For a private certificate authority, set `tls.caFile` or NODE_EXTRA_CA_CERTS.",
    proxyStatus: "tls_certificate_error",
  },
  UPSTREAM_PROTOCOL_ERROR: {
    status: 502,
    title: "Upstream protocol error",
    hint: "Check that `baseUrl` has the right scheme and port. The upstream must send well-formed responses, in HTTP/2 if the service has `http2`, else in HTTP/1.1.",
    proxyStatus: "http_protocol_error",
  },
  UPSTREAM_CREDENTIAL_UNAVAILABLE: {
    status: 502,
    title: "Upstream credential unavailable",
    hint: "The source of the service's credential fails, and no earlier credential is young enough. The operator finds the reason in the log and in the check credential:<service>.",
    proxyStatus: "proxy_configuration_error",
  },
  REDIRECT_BLOCKED: {
    status: 502,
    title: "Redirect blocked",
    hint: "Set `redirects` to `pass` for this service if its redirects to other hosts may be relayed.",
    proxyStatus: "http_protocol_error",
  },
  UNDER_PRESSURE: {
    status: 503,
    title: "Server under pressure",
    hint: "Wait for the number of seconds in Retry-After.",
    proxyStatus: "connection_limit_reached",
  },
  STORE_UNAVAILABLE: {
    status: 503,
    title: "Store unavailable",
    hint: "Make room on the disk of DATA_DIR, and check that the gateway may write to it; the log has the cause.",
  },
  TOKEN_KEYS_UNAVAILABLE: {
    status: 503,
    title: "Token keys unavailable",
    hint: "Wait for the number of seconds in Retry-After. The gateway cannot fetch the issuer's keys, so it can verify no new token. The operator finds the reason in the log and in the check tokens.",
    proxyStatus: "proxy_internal_error",
  },
  CIRCUIT_OPEN: {
    status: 503,
    title: "Circuit open",
    hint: "Wait for the number of seconds in Retry-After. The gateway sends this service no requests because too many failed. `breaker` of this service sets that threshold.",
    proxyStatus: "destination_unavailable",
  },
  SHUTTING_DOWN: { status: 503, title: "Shutting down", hint: "Send the request again, to another instance or later." },
  UPSTREAM_TIMEOUT: {
    status: 504,
    title: "Upstream timeout",
    hint: "Raise the setting named in the message, or make a request that the upstream can complete faster.",
    proxyStatus: "http_response_timeout",
  },
  NOT_CACHED: { status: 504, title: "Not cached", hint: "Send the request without `Cache-Control: only-if-cached`." },
  LOOP_DETECTED: {
    status: 508,
    title: "Loop detected",
    hint: "Set `baseUrl` of this service to the upstream. It leads back to this gateway.",
    proxyStatus: "proxy_loop_detected",
  },
} as const satisfies Record<string, CatalogEntry>;

export type ErrorCode = keyof typeof CATALOG;
