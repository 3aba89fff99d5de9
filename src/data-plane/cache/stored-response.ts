/**
 * One response in the cache, as it was received and without what belongs to one message or connection (RFC 9111 section 3.1).
 * Invariant: it is complete and it holds no secret of the gateway. Links are those of the upstream: they are rewritten for each client.
 */

import { connectionOptions } from "../forward/connection-options.ts";
import { HOP_BY_HOP } from "../forward/strip-plan.ts";
import { noFields, type ResponseHeaders } from "../forward/transport/response-fields.ts";
import { readSeconds } from "./cache-control.ts";
import { type Freshness, initialAgeMs, joined, readFreshness } from "./freshness.ts";

/** The two clocks of the cache. */
export interface CacheClock {
  /** Monotonic, ms: ages do not follow a step of the wall clock. */
  now(): number;
  /** ms since the epoch, for dates in headers. */
  wallNow(): number;
}

export interface StoredResponse {
  readonly status: number;
  readonly reason: string;
  /** The Age is written into it before each use. */
  readonly headers: ResponseHeaders;
  readonly body: Buffer;
  /** Neutral headers that `Vary` names, with their values in the request. */
  readonly varies: readonly string[];
  readonly variance: string;
  /** On the monotonic clock, ms: when its age was zero. */
  readonly bornAt: number;
  /** On the monotonic clock, ms: until then it is fresh. */
  readonly freshUntil: number;
  readonly needsValidation: boolean;
  readonly forbidsStale: boolean;
  /** ms after `freshUntil`; 0 without the directive. */
  readonly staleWhileRevalidateMs: number;
  readonly staleIfErrorMs: number;
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** A response that is complete. */
export interface ReceivedResponse {
  readonly status: number;
  readonly reason: string;
  readonly headers: ResponseHeaders;
  readonly body: Buffer;
}

export interface Reception {
  readonly isShared: boolean;
  readonly varies: readonly string[];
  readonly variance: string;
  /** On the monotonic clock, ms: when the request was sent and when its response began. */
  readonly requestedAt: number;
  readonly respondedAt: number;
  /** ms since the epoch, when the response began. */
  readonly wallRespondedAt: number;
}

/** Never stored, beside what the response itself forbids. */
const UNSTORED: ReadonlySet<string> = new Set([...HOP_BY_HOP, "age", "set-cookie", "set-cookie2", "trailer"]);

export function createStoredResponse(received: ReceivedResponse, reception: Reception): StoredResponse {
  const { status, reason, headers: all, body } = received;
  const freshness = readFreshness(all, reception.isShared, reception.wallRespondedAt);
  const headers = storableFields(all, freshness);
  // A recipient with a clock adds the time of reception (RFC 9110 section 6.6.1).
  headers.date ??= new Date(reception.wallRespondedAt).toUTCString();
  if (status !== 204) headers["content-length"] = String(body.length);
  return describeStored({ status, reason, headers, body }, all, freshness, reception);
}

/**
 * The entry with the fields of a 304 (RFC 9111 section 3.2). Those that describe the stored bytes stay.
 * @param status304 its headers as received.
 */
export function updateStoredResponse(
  stored: StoredResponse,
  status304: ResponseHeaders,
  reception: Reception,
): StoredResponse {
  const merged = Object.assign(noFields(), stored.headers);
  const named = connectionOptions(joined(status304.connection));
  for (const name in status304) {
    const value = status304[name];
    if (value === undefined || KEPT_BY_304.has(name) || UNSTORED.has(name) || named?.has(name)) continue;
    merged[name] = value;
  }
  const freshness = readFreshness(merged, reception.isShared, reception.wallRespondedAt);
  for (const name of freshness.unstoredFields) merged[name] = undefined;
  const { status, reason, body } = stored;
  const described = Object.assign(noFields(), merged, { age: status304.age });
  return describeStored({ status, reason, headers: merged, body }, described, freshness, reception);
}

/** They belong to the stored bytes, and a validator selects the entry that is updated. */
const KEPT_BY_304: ReadonlySet<string> = new Set([
  ...["content-length", "content-encoding", "content-range", "content-md5", "etag"],
  ...["digest", "content-digest", "repr-digest"],
]);

function storableFields(all: ResponseHeaders, { unstoredFields }: Freshness): ResponseHeaders {
  const headers = noFields();
  const named = connectionOptions(joined(all.connection));
  for (const name in all) {
    if (all[name] === undefined || UNSTORED.has(name) || named?.has(name) || unstoredFields.includes(name)) continue;
    headers[name] = all[name];
  }
  return headers;
}

/** @param described the headers that tell its age. */
function describeStored(
  response: ReceivedResponse,
  described: ResponseHeaders,
  { directives, lifetimeMs = 0, needsValidation, forbidsStale }: Freshness,
  { varies, variance, requestedAt, respondedAt, wallRespondedAt }: Reception,
): StoredResponse {
  const { etag, "last-modified": lastModified } = response.headers;
  const bornAt = respondedAt - initialAgeMs(described, respondedAt - requestedAt, wallRespondedAt);
  // Written out: a spread would make this ten times as slow.
  return {
    status: response.status,
    reason: response.reason,
    headers: response.headers,
    body: response.body,
    varies,
    variance,
    bornAt,
    freshUntil: bornAt + lifetimeMs,
    needsValidation,
    forbidsStale,
    staleWhileRevalidateMs: (readSeconds(directives.get("stale-while-revalidate")) ?? 0) * 1_000,
    staleIfErrorMs: (readSeconds(directives.get("stale-if-error")) ?? 0) * 1_000,
    etag: typeof etag === "string" ? etag : undefined,
    lastModified: typeof lastModified === "string" ? lastModified : undefined,
  };
}

/** ms. */
export function ageMsOf({ bornAt }: Pick<StoredResponse, "bornAt">, now: number): number {
  return Math.max(0, now - bornAt);
}

/** Bytes of memory that it takes, at least. */
export function sizeOf({ headers, body, variance }: StoredResponse): number {
  let size = ENTRY_OVERHEAD + body.length + variance.length;
  for (const name in headers) {
    const value = headers[name];
    size += name.length + FIELD_OVERHEAD + (typeof value === "string" ? value.length : String(value ?? "").length);
  }
  return size;
}

/** Measured: an entry without headers and body, with its places in the store. */
const ENTRY_OVERHEAD = 1_024;
const FIELD_OVERHEAD = 32;
