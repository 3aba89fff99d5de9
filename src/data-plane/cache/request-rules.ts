/**
 * What a request asks of the cache: its Cache-Control, its conditions and its range (RFC 9111 section 5.2.1, RFC 9110 sections 13, 14).
 */

import { readCacheControl, readSeconds } from "./cache-control.ts";
import type { KeyedRequest } from "./cache-key.ts";

export interface RequestRules {
  /** A stored response must be validated first. */
  readonly demandsValidation: boolean;
  readonly forbidsStoring: boolean;
  readonly onlyIfCached: boolean;
  /** ms. */
  readonly maxAgeMs: number;
  readonly minFreshMs: number;
  /** ms that a response may be stale; infinite for `max-stale` without a value. */
  readonly maxStaleMs: number;
  readonly staleIfErrorMs: number;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  /** `If-Match` or `If-Unmodified-Since`: only the upstream can evaluate them. */
  readonly hasPrecondition: boolean;
  readonly hasCookie: boolean;
}

const NO_RULES: RequestRules = {
  demandsValidation: false,
  forbidsStoring: false,
  onlyIfCached: false,
  maxAgeMs: Number.POSITIVE_INFINITY,
  minFreshMs: 0,
  maxStaleMs: 0,
  staleIfErrorMs: 0,
  ifNoneMatch: undefined,
  ifModifiedSince: undefined,
  range: undefined,
  ifRange: undefined,
  hasPrecondition: false,
  hasCookie: false,
};

/** The headers that are read here; most requests have none of them. */
const READ: ReadonlySet<string> = new Set([
  ...["cache-control", "pragma", "if-none-match", "if-modified-since", "range", "if-range", "if-match"],
  ...["if-unmodified-since", "cookie"],
]);

export function readRequestRules({ headers, strippedLength }: KeyedRequest): RequestRules {
  let found: Map<string, string> | undefined;
  for (let i = 0; i < strippedLength; i += 2) {
    const raw = headers[i] as string;
    // All of them begin with c, i, p or r, which excludes most other names at once.
    if (!mayBeRead(raw.charCodeAt(0) | 0x20)) continue;
    const name = raw.toLowerCase();
    if (!READ.has(name)) continue;
    found ??= new Map();
    const before = found.get(name);
    found.set(name, before === undefined ? (headers[i + 1] as string) : `${before}, ${headers[i + 1]}`);
  }
  return found === undefined ? NO_RULES : rulesOf(found);
}

function mayBeRead(letter: number): boolean {
  return letter === 0x63 || letter === 0x69 || letter === 0x70 || letter === 0x72;
}

function rulesOf(found: ReadonlyMap<string, string>): RequestRules {
  const directives = readCacheControl(found.get("cache-control"));
  const msOf = (name: string) => {
    const seconds = readSeconds(directives.get(name));
    return seconds === undefined ? undefined : seconds * 1_000;
  };
  const isPragma = !found.has("cache-control") && /\bno-cache\b/i.test(found.get("pragma") ?? "");
  return {
    demandsValidation: directives.has("no-cache") || isPragma,
    forbidsStoring: directives.has("no-store"),
    onlyIfCached: directives.has("only-if-cached"),
    maxAgeMs: msOf("max-age") ?? Number.POSITIVE_INFINITY,
    minFreshMs: msOf("min-fresh") ?? 0,
    maxStaleMs: directives.get("max-stale") === true ? Number.POSITIVE_INFINITY : (msOf("max-stale") ?? 0),
    staleIfErrorMs: msOf("stale-if-error") ?? 0,
    ifNoneMatch: found.get("if-none-match"),
    ifModifiedSince: found.get("if-modified-since"),
    range: found.get("range"),
    ifRange: found.get("if-range"),
    hasPrecondition: found.has("if-match") || found.has("if-unmodified-since"),
    hasCookie: found.has("cookie"),
  };
}
