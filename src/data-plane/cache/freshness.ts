/**
 * Whether a response may be stored, and how long it is fresh (RFC 9111 sections 3 and 4.2).
 * Invariant: freshness comes from the response only. There is no heuristic freshness: data of an API that changes without notice must not
 * be served by a guess, and a response with a validator is still stored, to be revalidated.
 */
import type { ResponseHeaders } from "../forward/transport/response-fields.ts";
import { type Directives, fieldsNamedBy, readCacheControl, readSeconds } from "./cache-control.ts";
import { readHttpDate } from "./http-date.ts";

export interface Freshness {
  readonly directives: Directives;
  /** ms; undefined where the response names none. */
  readonly lifetimeMs: number | undefined;
  /** The response needs a validation before each use. */
  readonly needsValidation: boolean;
  /** It must not be served stale (RFC 9111 sections 5.2.2.2, 5.2.2.8 and 5.2.2.10). */
  readonly forbidsStale: boolean;
  /** Lower-case names of fields that must not be stored. */
  readonly unstoredFields: readonly string[];
}

/** @param isShared the entry serves more than one user: a service without a credential of its own. @param wallNow ms since the epoch. */
export function readFreshness(headers: ResponseHeaders, isShared: boolean, wallNow: number): Freshness {
  const directives = readCacheControl(joined(headers["cache-control"]));
  const noCache = fieldsNamedBy(directives, "no-cache");
  const isPragma = headers["cache-control"] === undefined && /\bno-cache\b/i.test(joined(headers.pragma) ?? "");
  const isSharedLimit = isShared && (directives.has("s-maxage") || directives.has("proxy-revalidate"));
  const privateFields = isShared ? fieldsNamedBy(directives, "private") : undefined;
  return {
    directives,
    lifetimeMs: lifetimeOf(headers, directives, isShared, wallNow),
    needsValidation: (noCache !== undefined && noCache.length === 0) || isPragma,
    forbidsStale: directives.has("must-revalidate") || isSharedLimit,
    unstoredFields: [...(noCache ?? []), ...(privateFields ?? [])],
  };
}

/** RFC 9111 section 4.2.1. An invalid value is stale. */
function lifetimeOf(
  headers: ResponseHeaders,
  directives: Directives,
  isShared: boolean,
  wallNow: number,
): number | undefined {
  const shared = isShared ? directives.get("s-maxage") : undefined;
  const seconds = shared ?? directives.get("max-age");
  if (seconds !== undefined) return (readSeconds(seconds) ?? 0) * 1_000;
  const { expires } = headers;
  if (expires === undefined) return undefined;
  const until = typeof expires === "string" ? readHttpDate(expires, wallNow) : Number.NaN;
  const date = readHttpDate(joined(headers.date), wallNow);
  const lifetime = until - (Number.isNaN(date) ? wallNow : date);
  return Number.isNaN(lifetime) ? 0 : Math.max(0, lifetime);
}

/**
 * ms, when the response arrived (RFC 9111 section 4.2.3). Of a list the first member counts; an invalid Age, or one on several lines, is
 * older than every lifetime.
 */
export function initialAgeMs(headers: ResponseHeaders, responseDelayMs: number, wallNow: number): number {
  const date = readHttpDate(joined(headers.date), wallNow);
  const apparentMs = Number.isNaN(date) ? 0 : Math.max(0, wallNow - date);
  const { age } = headers;
  if (age === undefined) return Math.max(apparentMs, responseDelayMs);
  const seconds = typeof age === "string" ? readSeconds(age.split(",", 1)[0]?.trim()) : undefined;
  if (seconds === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(apparentMs, seconds * 1_000 + responseDelayMs);
}

/** Cacheable without explicit freshness, which here means: with a validator (RFC 9110 section 15.1). */
const BY_DEFAULT: ReadonlySet<number> = new Set([200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);

/**
 * They are about one request or its sender. A neutral header that a caller made too large or malformed may have caused them, and other
 * callers would get the refusal (https://cpdos.org).
 */
const OF_ONE_REQUEST: ReadonlySet<number> = new Set([400, 401, 407, 408, 413, 417, 421, 425, 426, 428, 429, 431]);

export interface ReceivedHead {
  readonly status: number;
  readonly headers: ResponseHeaders;
}

export interface StoringRequest {
  readonly method: string;
  readonly isShared: boolean;
  /** The client's own Authorization is forwarded. */
  readonly hasOwnAuthorization: boolean;
  /** It has a condition or a range, which are no part of the key: an error that one of them caused must not be stored. */
  readonly isConditional: boolean;
  /** The upstream speaks HTTP/2, which frames each body. */
  readonly isFramed: boolean;
  /** Its Cache-Control has `no-store`. */
  readonly forbidsStoring: boolean;
}

/** RFC 9111 section 3. */
export function mayStore({ status, headers }: ReceivedHead, freshness: Freshness, request: StoringRequest): boolean {
  const { directives, lifetimeMs } = freshness;
  if (request.method !== "GET" || request.forbidsStoring) return false;
  // Parts of a body are not combined, and a 304 belongs to the request that it answers.
  if (status < 200 || status > 599 || status === 206 || status === 304 || OF_ONE_REQUEST.has(status)) return false;
  if (request.isConditional && status !== 200) return false;
  if (directives.has("no-store") || (directives.has("must-understand") && !BY_DEFAULT.has(status))) return false;
  if (headers["set-cookie"] !== undefined || joined(headers.vary)?.includes("*")) return false;
  if (!request.isFramed && !hasFramedBody(status, headers)) return false;
  if (isEventStream(headers["content-type"])) return false;
  if (request.isShared && fieldsNamedBy(directives, "private")?.length === 0) return false;
  if (request.isShared && request.hasOwnAuthorization && !allowsAuthorized(directives)) return false;
  if (lifetimeMs !== undefined && lifetimeMs > 0) return true;
  const hasValidator = typeof headers.etag === "string" || typeof headers["last-modified"] === "string";
  return hasValidator && BY_DEFAULT.has(status);
}

/** RFC 9111 section 3.5. */
function allowsAuthorized(directives: Directives): boolean {
  return directives.has("must-revalidate") || directives.has("public") || directives.has("s-maxage");
}

/** Its events happen while it is received: another client, or a later one, has events of its own. */
function isEventStream(type: string | string[] | undefined): boolean {
  return type !== undefined && /^[ \t]*(?:text\/event-stream|application\/grpc)\b/i.test(joined(type) ?? "");
}

/** Where only the end of the connection ends a body, a body that was cut off looks complete. */
function hasFramedBody(status: number, headers: ResponseHeaders): boolean {
  return status === 204 || headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;
}

/** The value of all field lines; undefined for none. */
export function joined(value: string | string[] | undefined): string | undefined {
  return typeof value === "object" ? value.join(",") : value;
}
