/**
 * What is recorded of one exchange, and its JSON: for the log, `/manage/requests` and `/manage/events`.
 * Invariant: the JSON is an allow-list of fields, masked in one place: no part of a request is shown that is not named here.
 */
import { maskUrl, type SecretMask } from "./redact.ts";

export interface AccessLine {
  /** ms since the epoch. */
  readonly time: number;
  /** Letters, digits and punctuation that needs no escaping. */
  readonly requestId: string;
  /** A configured key, or empty. */
  readonly service: string;
  /** A method that the parser knows. */
  readonly method: string;
  /** Path and query as received; masked here. */
  readonly url: string;
  /** The Host header of a request to a service's own host or port; undefined for others. */
  readonly host: string | undefined;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationUs: number;
  /** Until the upstream's response headers, without the wait for its quota; 0 when there were none. */
  readonly upstreamUs: number;
  /** The wait for the upstream's quota; 0 when there was none. */
  readonly queuedUs: number;
  /** What the upstream's quota did with the request. */
  readonly quota: string;
  /** What the cache did; undefined for a service without one. */
  readonly cache?: string | undefined;
  /** What idempotency did; undefined for a request without a key that counts. */
  readonly idempotency?: string | undefined;
  /** Tokens that were charged; undefined where none were counted. */
  readonly tokens?: number | undefined;
  readonly attempts: number;
  /** An address. */
  readonly client: string;
  /** An id that the gateway made. */
  readonly caller: string;
  readonly outcome: string;
}

/**
 * The members of the JSON object, without its braces. Only the text that a client can choose freely is escaped: numbers are
 * integers, and all other texts are the gateway's own or were validated when they were received.
 */
export function accessMembers(line: AccessLine, maskKeys: SecretMask): string {
  // A client can put anything into a path, a key by mistake included: `/x%3Fapi_key=<key>`.
  const url = maskUrl(maskKeys(line.url));
  const host = line.host === undefined ? "" : `"host":${quoted(maskKeys(line.host))},`;
  const once = line.idempotency === undefined ? "" : `"idempotency":"${line.idempotency}",`;
  const cache = line.cache === undefined ? "" : `"cache":"${line.cache}",`;
  const tokens = line.tokens === undefined ? "" : `"tokens":${line.tokens},`;
  return `"time":${line.time},"requestId":"${line.requestId}","service":"${line.service}","method":"${line.method}",${host}"path":${quoted(url)},"status":${line.status},"bytesIn":${line.bytesIn},"bytesOut":${line.bytesOut},"durationUs":${line.durationUs},"upstreamUs":${line.upstreamUs},"queuedUs":${line.queuedUs},"quota":"${line.quota}",${cache}${once}${tokens}"attempts":${line.attempts},"client":"${line.client}","caller":"${line.caller}","outcome":"${line.outcome}"`;
}

/** Characters that a client chose, and which therefore may be many. */
export function clientTextOf({ url, host }: AccessLine): number {
  return url.length + (host?.length ?? 0);
}

const NEEDS_ESCAPING = /[^\x20-\x7e]|["\\]/;

function quoted(text: string): string {
  return NEEDS_ESCAPING.test(text) ? JSON.stringify(text) : `"${text}"`;
}
