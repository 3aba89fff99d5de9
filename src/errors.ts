/**
 * The catalogue of everything the gateway itself can answer with: code, status, public title, hint.
 * Invariant: a public message never holds a secret or a cause; the cause travels in `cause` and ends in the log.
 */

interface CatalogueEntry {
  /** HTTP status of the answer. */
  readonly status: number;
  /** Public title, the `error` field. */
  readonly title: string;
  /** What to do about it, unless the thrower knows better. */
  readonly hint: string;
  /** RFC 9209 section 2.3 error type, where one of them fits. */
  readonly proxyStatus?: string;
}

export const CATALOGUE = {
  INVALID_REQUEST: {
    status: 400,
    title: "Invalid request",
    hint: "Send one well-formed HTTP/1.1 request, framed by one Content-Length or by Transfer-Encoding: chunked.",
    proxyStatus: "http_request_error",
  },
  INVALID_PATH: {
    status: 400,
    title: "Invalid path",
    hint: "Ask for /proxy/<service>/<path> with an origin-form path, without dot segments, control characters or malformed percent-encoding.",
    proxyStatus: "http_request_error",
  },
  HOST_HEADER_INVALID: {
    status: 400,
    title: "Invalid Host header",
    hint: "Send exactly one Host header that holds a host name or address and an optional port.",
    proxyStatus: "http_request_error",
  },
  VALIDATION_ERROR: {
    status: 400,
    title: "Validation failed",
    hint: "Mend what details names, and send it again.",
  },
  MISSING_CREDENTIALS: {
    status: 401,
    title: "Authentication required",
    hint: "Send the key as `Authorization: Bearer <key>`, as `x-api-key: <key>` or as `?api_key=<key>`.",
    proxyStatus: "http_request_denied",
  },
  INVALID_API_KEY: {
    status: 401,
    title: "Invalid API key",
    hint: "Check the key for truncation and stray whitespace, and that it is of the kind that the message names.",
    proxyStatus: "http_request_denied",
  },
  UPSTREAM_CREDENTIAL_MISSING: {
    status: 401,
    title: "Upstream credential missing",
    hint: "Set the variable that the message names and restart, or put it into .env and reload; a file is taken up by itself. Or set `auth.required` to false for this service.",
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
    hint: "Point `baseUrl` at an address that may be dialled; EGRESS_ALLOW_PRIVATE=true allows private ones, nothing allows link-local and metadata addresses or the gateway itself.",
    proxyStatus: "destination_ip_prohibited",
  },
  INSUFFICIENT_PERMISSIONS: {
    status: 403,
    title: "Insufficient permissions",
    hint: "Ask whoever issues keys for the permission that `required` names.",
    proxyStatus: "http_request_denied",
  },
  IP_NOT_ALLOWED: {
    status: 403,
    title: "Address not allowed",
    hint: "Use the key from an address in its `allowIps`, or have them changed.",
    proxyStatus: "http_request_denied",
  },
  SERVICE_NOT_CONFIGURED: {
    status: 404,
    title: "Service not configured",
    hint: "Use one of availableServices, or add the service to the services file.",
    proxyStatus: "destination_not_found",
  },
  NOT_FOUND: { status: 404, title: "Not found", hint: "GET / lists what there is." },
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
    hint: "Change what is there with PUT or PATCH, or choose another key.",
  },
  READ_ONLY_SERVICE: {
    status: 409,
    title: "Read-only service",
    hint: "It is built in or stands in the services file: take it out there, or change it with PUT or PATCH.",
  },
  PRECONDITION_FAILED: {
    status: 412,
    title: "Precondition failed",
    hint: "Read it again, and send the change with the ETag that it has now.",
  },
  PAYLOAD_TOO_LARGE: {
    status: 413,
    title: "Payload too large",
    hint: "Send a smaller body, or raise `maxBodyBytes` of this service.",
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
    hint: "The only expectation that can be met is `Expect: 100-continue`.",
    proxyStatus: "http_request_error",
  },
  UPGRADE_NOT_ALLOWED: {
    status: 426,
    title: "Upgrade not allowed",
    hint: "Set `ws: true` on this service to let WebSocket connections through.",
    proxyStatus: "http_upgrade_failed",
  },
  RATE_LIMIT_EXCEEDED: {
    status: 429,
    title: "Rate limit exceeded",
    hint: "Wait for the seconds in Retry-After, or raise `rateLimit` of this service.",
    proxyStatus: "http_request_denied",
  },
  TOO_MANY_AUTH_FAILURES: {
    status: 429,
    title: "Too many authentication failures",
    hint: "Wait for the seconds in Retry-After; keys that worked from this address within the hour are taken meanwhile.",
    proxyStatus: "http_request_denied",
  },
  UPSTREAM_QUOTA_EXHAUSTED: {
    status: 429,
    title: "Upstream quota exhausted",
    hint: "Wait for the seconds in Retry-After, or let it wait longer: `Prefer: wait=<seconds>`, or `quota.maxWaitMs` of this service.",
    proxyStatus: "http_request_denied",
  },
  HEADERS_TOO_LARGE: {
    status: 431,
    title: "Request headers too large",
    hint: "Send fewer or smaller headers, or a shorter URL: 16 KiB and 256 lines are accepted.",
    proxyStatus: "http_request_error",
  },
  INTERNAL_ERROR: {
    status: 500,
    title: "Internal error",
    hint: "Look for this requestId in the gateway's log.",
    proxyStatus: "proxy_internal_error",
  },
  NOT_IMPLEMENTED: {
    status: 501,
    title: "Not implemented",
    hint: "Send the body with Content-Length, or with exactly `Transfer-Encoding: chunked`.",
    proxyStatus: "http_request_error",
  },
  UPSTREAM_UNREACHABLE: {
    status: 502,
    title: "Upstream unreachable",
    hint: "Check `baseUrl` of this service, and that the gateway's machine reaches it.",
    proxyStatus: "destination_unavailable",
  },
  UPSTREAM_TLS_ERROR: {
    status: 502,
    title: "Upstream TLS error",
    hint: "Check the clock, the upstream's certificate, and `tls.caFile` or NODE_EXTRA_CA_CERTS for a private authority.",
    proxyStatus: "tls_certificate_error",
  },
  UPSTREAM_PROTOCOL_ERROR: {
    status: 502,
    title: "Upstream protocol error",
    hint: "The upstream did not answer in well-formed HTTP/1.1; check that `baseUrl` has the right scheme and port.",
    proxyStatus: "http_protocol_error",
  },
  UNDER_PRESSURE: {
    status: 503,
    title: "Server under pressure",
    hint: "Wait for the seconds in Retry-After.",
    proxyStatus: "connection_limit_reached",
  },
  CIRCUIT_OPEN: {
    status: 503,
    title: "Circuit open",
    hint: "Wait for the seconds in Retry-After; the upstream failed too often to be asked now. `breaker` of this service says how often that is.",
    proxyStatus: "destination_unavailable",
  },
  SHUTTING_DOWN: {
    status: 503,
    title: "Shutting down",
    hint: "Ask again: another instance or the next start answers.",
  },
  UPSTREAM_TIMEOUT: {
    status: 504,
    title: "Upstream timeout",
    hint: "Raise the setting that the message names, or ask the upstream for less.",
    proxyStatus: "http_response_timeout",
  },
  LOOP_DETECTED: {
    status: 508,
    title: "Loop detected",
    hint: "This service's `baseUrl` leads back to this gateway; point it at the upstream.",
    proxyStatus: "proxy_loop_detected",
  },
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof CATALOGUE;

export interface GatewayErrorOptions {
  /** Public sentence; the title when left out. */
  readonly message?: string;
  readonly hint?: string;
  /** More members of the JSON body: `availableServices`, `details`. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** More response headers, a flat list of names and values: `Allow`, `Retry-After`. */
  readonly headers?: readonly string[];
  /** RFC 9209 error type when it is sharper than the code's own. */
  readonly proxyStatus?: string;
  /** What really happened: for the log only. */
  readonly cause?: unknown;
}

/** The one error that may reach a client; everything else thrown is answered as INTERNAL_ERROR. */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly title: string;
  readonly hint: string;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly headers: readonly string[];
  readonly proxyStatus: string | undefined;

  constructor(code: ErrorCode, options: GatewayErrorOptions = {}) {
    const entry: CatalogueEntry = CATALOGUE[code];
    super(options.message ?? `${entry.title}.`, { cause: options.cause });
    this.name = "GatewayError";
    this.code = code;
    this.status = entry.status;
    this.title = entry.title;
    this.hint = options.hint ?? entry.hint;
    this.extra = options.extra ?? {};
    this.headers = options.headers ?? [];
    this.proxyStatus = options.proxyStatus ?? entry.proxyStatus;
  }

  /** Any thrown value as a GatewayError; what is not one already becomes INTERNAL_ERROR with the cause kept for the log. */
  static from(thrown: unknown): GatewayError {
    return thrown instanceof GatewayError ? thrown : new GatewayError("INTERNAL_ERROR", { cause: thrown });
  }
}
