/**
 * Reads an upstream's limits from its response headers, in every spelling in use, into one form.
 * Invariant: a time is never too early. A value may have been cut off at its last digit, so one unit of that digit is added. A value
 * that cannot be understood is ignored.
 */
import { UpstreamClock } from "./clocks.ts";

/** One limit: what remains of it, and until when. */
export interface QuotaWindow {
  /** `requests`, `tokens`, a policy's name; empty for an upstream with only one. */
  readonly name: string;
  /** Undefined if not reported. */
  readonly limit: number | undefined;
  readonly remaining: number;
  /** ms since the epoch, by this process's clock. */
  readonly resetsAt: number;
  /** How long one point takes, ms; set if the limit is known to refill point by point. */
  readonly pointMs?: number;
}

export interface QuotaReading {
  readonly windows: readonly QuotaWindow[];
  /** The upstream's name for what the windows count. */
  readonly bucket: string | undefined;
  /** `user`, `shared`, `global` … */
  readonly scope: string | undefined;
  /** The earliest time for the next request, ms since the epoch: from `Retry-After` and similar fields. */
  readonly retryAt: number | undefined;
}

/** With lower-case names, as the transport reports them. */
export type ResponseHeaders = Readonly<Record<string, string | string[] | undefined>>;

/** A reset below this is an interval, otherwise a date: no window is this long. */
const LONGEST_INTERVAL_S = 30 * 86_400;

/** A few upstreams have monthly limits, none has yearly ones. */
const LONGEST_WAIT_MS = 32 * 86_400_000;

/** Bounds for a hostile upstream: no vendor needs half of them. */
const WINDOWS_LIMIT = 16;
const NAMES_LIMIT = 64;
const FIELD_LIMIT = 4_096;
const WINDOW_NAME_LIMIT = 100;

const LETTER_A = 97;
const LETTER_R = 114;
const LETTER_X = 120;

const NOTHING: QuotaReading = { windows: [], bucket: undefined, scope: undefined, retryAt: undefined };

/**
 * @param now ms since the epoch, when the response's headers arrived.
 * @param upstreamClock given when several responses of one upstream are read.
 */
export function readQuota(headers: ResponseHeaders, now: number, upstreamClock = new UpstreamClock()): QuotaReading {
  const names = quotaNames(headers);
  if (names.length === 0) return NOTHING;
  const clock = clockOf(headers, now, upstreamClock);
  return {
    windows: [
      ...readStructured(headers, clock),
      ...readPlain(headers, clock),
      ...readNamed(names, headers, clock),
      ...readShopify(headers, clock),
    ].slice(0, WINDOWS_LIMIT),
    bucket: bucketOf(headers),
    scope: scopeOf(headers),
    retryAt: readRetryAt(headers, clock),
  };
}

function quotaNames(headers: ResponseHeaders): string[] {
  const names: string[] = [];
  for (const name in headers) if (isQuotaName(name) && names.push(name) >= NAMES_LIMIT) break;
  return names;
}

/** Whether `readQuota` could find anything. Most responses have no such header, so this is all that they cost. */
export function hasQuotaHeader(headers: ResponseHeaders): boolean {
  for (const name in headers) {
    const first = name.charCodeAt(0);
    if ((first === LETTER_X || first === LETTER_R || first === LETTER_A) && isQuotaName(name)) return true;
  }
  return false;
}

function isQuotaName(name: string): boolean {
  switch (name.charCodeAt(0)) {
    case LETTER_X:
      return name.startsWith("x-rate") || name === SHOPIFY;
    case LETTER_R:
      return name.startsWith("ratelimit") || name.startsWith("retry-after");
    case LETTER_A:
      return name.startsWith("anthropic-rate");
    default:
      return false;
  }
}

/** Names are stored, so longer ones than any vendor uses are ignored. */
const BUCKET_NAME_LIMIT = 200;

/** The upstream's name for the requests that are counted together. */
export function bucketOf(headers: ResponseHeaders): string | undefined {
  const name = text(headers, "x-ratelimit-bucket") ?? text(headers, "x-ratelimit-resource");
  return name !== undefined && name.length <= BUCKET_NAME_LIMIT ? name : undefined;
}

/** The reference for times. */
interface Clock {
  /** By this process, ms since the epoch. */
  readonly now: number;
  /** The upstream's clock is at least this far ahead, ms. */
  readonly aheadMs: number;
}

function clockOf(headers: ResponseHeaders, now: number, upstreamClock: UpstreamClock): Clock {
  const theirs = Date.parse(text(headers, "date") ?? "");
  return { now, aheadMs: Number.isNaN(theirs) ? 0 : upstreamClock.aheadBy(theirs, now) };
}

function text(headers: ResponseHeaders, name: string): string | undefined {
  const value = headers[name];
  return typeof value === "string" ? value.trim() : value?.[0]?.trim();
}

/** A count: a whole number, not negative. Azure sends -1 for "not known". */
function count(value: string | undefined): number | undefined {
  // `100, 100;w=60`: an older draft appends the windows to the number.
  const digits = /^(\d{1,15})(?:\.\d+)?\s*(?:[,;]|$)/.exec(value ?? "")?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** draft-ietf-httpapi-ratelimit-headers: `RateLimit: "hour";r=9;t=60` beside `RateLimit-Policy: "hour";q=10;w=3600`. */
function readStructured(headers: ResponseHeaders, clock: Clock): QuotaWindow[] {
  const all = fieldOf(headers.ratelimit);
  if (all === "") return [];
  // Draft 07: `limit=10, remaining=9, reset=60`.
  if (/^\s*(?:limit|remaining|reset)=/.test(all)) {
    const members = parametersOf(all.replaceAll(",", ";"));
    return windowOf(
      "",
      { limit: members.get("limit"), remaining: members.get("remaining"), reset: members.get("reset") },
      clock,
    );
  }
  const limits = new Map(
    itemsOf(fieldOf(headers["ratelimit-policy"])).map(({ name, parameters }) => [name, parameters.get("q")]),
  );
  return itemsOf(all).flatMap(({ name, parameters }) =>
    windowOf(name, { limit: limits.get(name), remaining: parameters.get("r"), reset: parameters.get("t") }, clock),
  );
}

function fieldOf(value: string | string[] | undefined): string {
  return [value ?? []].flat().join(", ").slice(0, FIELD_LIMIT);
}

/** The subset of a list (RFC 9651 section 3.1) that these fields use: names with numeric parameters. */
function itemsOf(list: string): { readonly name: string; readonly parameters: ReadonlyMap<string, string> }[] {
  const items = list.match(/(?:"[^"]*"|[^,"])+/g) ?? [];
  return items.flatMap((item) => {
    const name = /^\s*(?:"([^"]*)"|([A-Za-z*][^\s;"]*))/.exec(item);
    return name === null
      ? []
      : [{ name: name[1] ?? name[2] ?? "", parameters: parametersOf(item.slice(name[0].length)) }];
  });
}

function parametersOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    [...text.matchAll(/(?:^|;)\s*([a-z]+)\s*=\s*"?([\d.]+)"?/g)].map(([, name = "", value = ""]) => [name, value]),
  );
}

/** `X-RateLimit-*`, also without the `X-`. */
function readPlain(headers: ResponseHeaders, clock: Clock): QuotaWindow[] {
  for (const prefix of ["x-ratelimit", "ratelimit", "x-rate-limit"]) {
    const windows = windowOf(
      "",
      {
        limit: text(headers, `${prefix}-limit`),
        remaining: text(headers, `${prefix}-remaining`),
        reset: text(headers, `${prefix}-reset-after`) ?? text(headers, `${prefix}-reset`),
      },
      clock,
    );
    if (windows.length > 0) return windows;
  }
  return [];
}

/** `x-ratelimit-remaining-tokens` and `anthropic-ratelimit-tokens-remaining`. */
function readNamed(names: readonly string[], headers: ResponseHeaders, clock: Clock): QuotaWindow[] {
  return names.flatMap((header) => {
    const before = /^x-ratelimit-remaining-(.+)$/.exec(header)?.[1];
    const after = /^anthropic-(?:ratelimit|priority)-(.+)-remaining$/.exec(header)?.[1];
    const name = before ?? after;
    if (name === undefined) return [];
    const other = (what: string) =>
      text(headers, before === undefined ? header.replace(/remaining$/, what) : `x-ratelimit-${what}-${name}`);
    return windowOf(name, { limit: other("limit"), remaining: text(headers, header), reset: other("reset") }, clock);
  });
}

const SHOPIFY = "x-shopify-shop-api-call-limit";

/**
 * A leaky bucket of calls, `32/40`. On each plan it empties in twenty seconds: two calls a second on the smallest
 * (shopify.dev/docs/api/usage/rate-limits).
 */
function readShopify(headers: ResponseHeaders, { now }: Clock): QuotaWindow[] {
  const [, used, limit] = /^(\d{1,9})\/(\d{1,9})$/.exec(text(headers, SHOPIFY) ?? "") ?? [];
  if (used === undefined || Number(limit) === 0) return [];
  const remaining = Math.max(0, Number(limit) - Number(used));
  return [{ name: "", limit: Number(limit), remaining, resetsAt: now + 500, pointMs: 20_000 / Number(limit) }];
}

interface WindowTexts {
  readonly limit: string | undefined;
  readonly remaining: string | undefined;
  readonly reset: string | undefined;
}

/**
 * Empty without a remainder or an end, because nothing follows from it. The same holds for a limit of 0, which some upstreams send
 * for "no limit", and for an end further away than that of any real limit.
 */
function windowOf(name: string, texts: WindowTexts, clock: Clock): QuotaWindow[] {
  const remaining = count(texts.remaining);
  const limit = count(texts.limit);
  const resetsAt = readTime(texts.reset, clock);
  if (name.length > WINDOW_NAME_LIMIT) return [];
  return remaining === undefined || limit === 0 || resetsAt === undefined || resetsAt > clock.now + LONGEST_WAIT_MS
    ? []
    : [{ name, limit, remaining, resetsAt }];
}

/** ms since the epoch, by this process's clock: from an interval, an epoch, `6m0s`, or a date (RFC 3339, RFC 9110 section 5.6.7). */
function readTime(value: string | undefined, { now, aheadMs }: Clock): number | undefined {
  if (value === undefined || value === "") return undefined;
  const [, digits] = /^\d{1,13}(?:\.(\d{1,9}))?$/.exec(value) ?? [];
  if (/^\d{1,13}(?:\.\d{1,9})?$/.test(value)) {
    const seconds = Number(value);
    const unitMs = 1_000 / 10 ** (digits?.length ?? 0);
    if (seconds < LONGEST_INTERVAL_S) return now + seconds * 1_000 + Math.max(1, unitMs);
    // Some upstreams send milliseconds.
    const epochMs = seconds > 1e11 ? seconds : seconds * 1_000;
    return epochMs - aheadMs + (seconds > 1e11 ? 1 : Math.max(1, unitMs));
  }
  const intervalMs = readInterval(value);
  if (intervalMs !== undefined) return now + intervalMs + 1;
  const date = Date.parse(value);
  if (Number.isNaN(date) || !/\d{2}:\d{2}/.test(value)) return undefined;
  return date - aheadMs + (/\.\d/.test(value) ? 1 : 1_000);
}

const UNITS_MS: Readonly<Record<string, number>> = {
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 0.001,
  µs: 0.001,
};

/** `6m0s`, `12ms`, `1h2m3.5s`: Go's durations, as OpenAI sends them. */
function readInterval(value: string): number | undefined {
  if (!/^(?:\d{1,9}(?:\.\d{1,9})?(?:ms|us|µs|[dhms]))+$/.test(value)) return undefined;
  let sum = 0;
  for (const [, number, unit = ""] of value.matchAll(/([\d.]+)(ms|us|µs|[dhms])/g))
    sum += Number(number) * (UNITS_MS[unit] ?? 0);
  return Math.ceil(sum);
}

/** `Retry-After` (RFC 9110 section 10.2.3), `retry-after-ms`, and `X-RateLimit-Retry-After`. */
function readRetryAt(headers: ResponseHeaders, clock: Clock): number | undefined {
  const milliseconds = text(headers, "retry-after-ms");
  const at =
    milliseconds !== undefined && /^\d{1,12}(?:\.\d+)?$/.test(milliseconds)
      ? clock.now + Math.ceil(Number(milliseconds)) + 1
      : readTime(text(headers, "retry-after") ?? text(headers, "x-ratelimit-retry-after"), clock);
  return at === undefined || at > clock.now + LONGEST_WAIT_MS ? undefined : at;
}

function scopeOf(headers: ResponseHeaders): string | undefined {
  if (text(headers, "x-ratelimit-global")?.toLowerCase() === "true") return "global";
  return text(headers, "x-ratelimit-scope")?.toLowerCase();
}
