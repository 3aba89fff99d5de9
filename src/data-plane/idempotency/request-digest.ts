/**
 * What identifies a request that is repeated: its method and target, its headers and its body, as the upstream would receive them.
 * Invariant: requests that an upstream could execute differently have different digests. Only headers that describe one attempt are
 * left out: clients change them with each retry.
 */
import { hash } from "node:crypto";
import type { UpstreamRequest } from "../forward/upstream-request.ts";

/** docs/idempotency.md lists them. */
const OF_ONE_ATTEMPT: ReadonlySet<string> = new Set([
  ...["idempotency-key", "date", "x-amz-date", "user-agent", "via", "te", "priority", "cache-control", "pragma"],
  ...["tracestate", "baggage", "newrelic", "b3", "amz-sdk-request", "amz-sdk-invocation-id"],
  ...["x-real-ip", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"],
]);

/** `traceparent`, `X-Request-Id`, `X-Stainless-Retry-Count`, `X-Stripe-Client-Telemetry`, `X-B3-SpanId`, … */
const ATTEMPT_WORD = /trace|telemetry|retry|attempt|request-?id|correlation-?id|^x-b3-|^x-datadog-/;

/** Each as a hash: 22 characters, which is 132 bits. */
export interface RequestDigest {
  readonly target: string;
  readonly headers: string;
  readonly body: string;
}

const PART = 22;

/** @param sign a keyed hash: a stored digest must not help to guess what a client sent. */
export function digestRequest(
  request: Pick<UpstreamRequest, "method" | "origin" | "strippedPath" | "headers" | "strippedLength" | "rarePlaces">,
  body: Buffer,
  sign: (text: string) => string,
): RequestDigest {
  const { method, origin, strippedPath, headers, strippedLength, rarePlaces } = request;
  const lines: string[] = [];
  for (let i = 0; i < strippedLength; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (!isOfOneAttempt(name)) lines.push(`${name}:${headers[i + 1]}`);
  }
  const part = (name: string, text: string) => sign(`${name}\n${text}`).slice(0, PART);
  return {
    // The path may begin with one of several templates, which the credential fills.
    target: part("target", `${method} ${origin}${strippedPath} ${rarePlaces?.pathTemplate ?? ""}`),
    headers: part("headers", sortedByName(lines).join("\n")),
    body: part("body", hash("sha256", body, "base64url")),
  };
}

export function writeDigest({ target, headers, body }: RequestDigest): string {
  return `${target}.${headers}.${body}`;
}

/** What differs from the digest of the first request, for its client; undefined where nothing does. */
export function differenceFrom(first: string, { target, headers, body }: RequestDigest): string | undefined {
  const [firstTarget, firstHeaders, firstBody] = first.split(".");
  if (firstTarget !== target) return "another method, path or query";
  if (firstBody !== body) return "another body";
  return firstHeaders === headers ? undefined : "other headers";
}

function isOfOneAttempt(name: string): boolean {
  return OF_ONE_ATTEMPT.has(name) || ATTEMPT_WORD.test(name);
}

/** Clients may write headers in any order; the order of equal names counts (RFC 9110 section 5.3). */
function sortedByName(lines: readonly string[]): string[] {
  const nameOf = (line: string) => line.slice(0, line.indexOf(":"));
  return lines.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : nameOf(a) > nameOf(b) ? 1 : 0));
}
