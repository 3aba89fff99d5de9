/**
 * Which web pages may read the gateway's responses: one CORS policy for both planes (Fetch standard, section 3.2).
 * Invariant: an origin is compared as a whole and echoed only when it is listed; `*` is never sent with credentials; and a
 * response that depends on the origin says so in `Vary`, for caches.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Settings } from "../config/settings.ts";
import { GatewayError } from "../errors.ts";
import { printable } from "../printable.ts";
import { PROXIED_METHODS } from "./framing.ts";

/** The gateway's own headers, which a listed origin may read in addition to the CORS-safelisted ones. */
const OWN_HEADERS = [
  "ETag",
  "Grpc-Message",
  "Grpc-Status",
  "Idempotency-Replayed",
  "Link",
  "Location",
  "Proxy-Status",
  "RateLimit",
  "RateLimit-Policy",
  "Retry-After",
  "WWW-Authenticate",
  "X-Proxy-Cache",
  "X-Proxy-Duration",
  "X-Proxy-Error",
  "X-Proxy-Link-Blocked",
  "X-Proxy-Queue-Duration",
  "X-Proxy-Request-Id",
  "X-Proxy-Service",
  "X-RateLimit-Limit",
  "X-RateLimit-Remaining",
  "X-RateLimit-Reset",
  "X-Request-Id",
].join(", ");

/** Longest list of header names that is echoed to a preflight, characters. */
const ASKED_HEADERS_LIMIT = 4_096;
/** Refused origins that are remembered: a client that invents origins must not fill the memory. */
const REMEMBERED_LIMIT = 20;
const HEADER_NAMES = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:\s*,\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*$/;
const METHOD = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}$/;

export interface Cors {
  /** True where responses depend on the origin: each says so in `Vary`, also the response to a request without an origin. */
  readonly varies: boolean;
  /** The CORS headers for this request's origin, as a flat list without `Vary`. @param exposed header names that the upstream exposes. */
  grant(headers: IncomingHttpHeaders, exposed?: string): readonly string[];
  /** The value of `Vary` where responses vary. @param own the response's own `Vary`. */
  vary(own: string | undefined): string;
  /** All CORS headers for a response that the gateway makes, `Vary` included. */
  headersOf(headers: IncomingHttpHeaders): string[];
  /** Remembers a request from an origin that is not allowed. Only for requests with an `Origin`. */
  remember(headers: IncomingHttpHeaders): void;
  /** The last twenty origins that were not allowed, with their number of requests. */
  readonly refusedOrigins: ReadonlyMap<string, number>;
  /**
   * The headers of a preflight's 204 as a flat list, or its refusal; undefined for any other request. They do not depend on the
   * service: a preflight needs no key, so it must not show which services there are.
   */
  decidePreflight(req: IncomingMessage): string[] | GatewayError | undefined;
}

export type CorsSettings = Pick<
  Settings,
  "CORS_ENABLED" | "CORS_ORIGINS" | "CORS_METHODS" | "CORS_HEADERS" | "CORS_CREDENTIALS" | "CORS_MAX_AGE"
>;

export function createCors(settings: CorsSettings): Cors {
  const { CORS_CREDENTIALS, CORS_METHODS, CORS_HEADERS, CORS_MAX_AGE } = settings;
  const origins = new Set(settings.CORS_ORIGINS);
  const isEnabled = settings.CORS_ENABLED;
  const varies = isEnabled && origins.size > 0;
  const refusedOrigins = new Map<string, number>();

  function allowOrigin(origin: string | undefined): readonly string[] | undefined {
    if (!isEnabled || origin === undefined) return undefined;
    if (origins.has(origin) && origin !== "*") {
      const allowed = ["Access-Control-Allow-Origin", origin];
      return CORS_CREDENTIALS ? [...allowed, "Access-Control-Allow-Credentials", "true"] : allowed;
    }
    // A sandboxed page or a local file sends the origin `null`, which is allowed only where it is listed.
    return origins.has("*") && origin !== "null" ? ["Access-Control-Allow-Origin", "*"] : undefined;
  }

  function grant({ origin }: IncomingHttpHeaders, exposed?: string): readonly string[] {
    const allowed = allowOrigin(origin);
    if (allowed === undefined) return [];
    const names = exposed === undefined || !HEADER_NAMES.test(exposed) ? OWN_HEADERS : `${OWN_HEADERS}, ${exposed}`;
    return [...allowed, "Access-Control-Expose-Headers", names];
  }

  return {
    varies,
    grant,
    vary(own) {
      if (own === undefined || own === "") return "Origin";
      return /(?:^|,)\s*(?:origin|\*)\s*(?:,|$)/i.test(own) ? own : `${own}, Origin`;
    },
    refusedOrigins,
    remember(headers) {
      const { origin = "", host } = headers;
      if (allowOrigin(origin) !== undefined || origin === `http://${host}` || origin === `https://${host}`) return;
      const shown = printable(origin);
      const count = refusedOrigins.get(shown);
      if (count === undefined && refusedOrigins.size >= REMEMBERED_LIMIT) {
        const [oldest = ""] = refusedOrigins.keys();
        refusedOrigins.delete(oldest);
      }
      refusedOrigins.set(shown, (count ?? 0) + 1);
    },
    headersOf: (headers) => (varies ? ["Vary", "Origin", ...grant(headers)] : []),
    decidePreflight({ method, headers }) {
      if (method !== "OPTIONS" || !isEnabled) return undefined;
      const { origin, "access-control-request-method": asked } = headers;
      if (origin === undefined || asked === undefined) return undefined;
      const allowed = allowOrigin(origin);
      if (allowed === undefined) return refuseOrigin(origin);
      const response = [
        "Vary",
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        ...allowed,
        "Access-Control-Allow-Methods",
        (CORS_METHODS?.map(asBrowsersSpell) ?? withAsked(asked)).join(", "),
        "Access-Control-Max-Age",
        String(CORS_MAX_AGE),
      ];
      const names = CORS_HEADERS?.join(", ") ?? askedHeaders(headers);
      if (names !== undefined) response.push("Access-Control-Allow-Headers", names);
      return response;
    },
  };
}

/** For a preflight from another origin. A browser shows the page only that the preflight failed; the text is for its developer. */
function refuseOrigin(origin: string): GatewayError {
  return new GatewayError("ORIGIN_NOT_ALLOWED", {
    message: `Origin ${printable(origin)} is not in CORS_ORIGINS.`,
    hint: "Add the origin to CORS_ORIGINS: scheme, host and port, exactly as the browser sends it.",
  });
}

/** Browsers compare methods case-sensitively and send most of them as the page wrote them: `patch` in the list would match nothing. */
function asBrowsersSpell(method: string): string {
  const upperCase = method.toUpperCase();
  return PROXIED_METHODS.includes(upperCase) ? upperCase : method;
}

/** Every method that the gateway forwards. A service that allows fewer refuses the request itself. */
function withAsked(asked: string): readonly string[] {
  const isForwarded = METHOD.test(asked) && asked !== "TRACE" && asked !== "CONNECT";
  return !isForwarded || PROXIED_METHODS.includes(asked) ? PROXIED_METHODS : [...PROXIED_METHODS, asked];
}

function askedHeaders(headers: IncomingHttpHeaders): string | undefined {
  const asked = headers["access-control-request-headers"];
  return asked !== undefined && asked.length <= ASKED_HEADERS_LIMIT && HEADER_NAMES.test(asked) ? asked : undefined;
}
