/**
 * Which trailers of an upstream's go to the client.
 * Invariant: nothing comes in behind a body that would have been removed, rewritten or acted upon in front of it.
 */
import { HOP_BY_HOP } from "./strip-plan.ts";
import type { AnswerHeaders } from "./transport.ts";

/** RFC 9110 section 6.5.1, and what the gateway rewrites or grants itself. */
const NEVER_BEHIND_A_BODY: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP,
  "alt-svc",
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-location",
  "content-range",
  "content-type",
  "host",
  "link",
  "location",
  "ratelimit",
  "ratelimit-policy",
  "retry-after",
  "set-cookie",
  "www-authenticate",
  "x-request-id",
]);

/** Pairs for `addTrailers`. */
export function trailersToRelay(trailers: AnswerHeaders): [name: string, value: string][] {
  return Object.entries(trailers).flatMap(([name, value]) =>
    value === undefined || !mayFollow(name) ? [] : [value].flat().map((one): [string, string] => [name, one]),
  );
}

/** The value of `Trailer` for the client; empty when it would announce nothing. */
export function announcedTrailers(trailer: string | string[] | undefined): string {
  if (trailer === undefined) return "";
  const names = [trailer].flat().flatMap((list) => list.split(","));
  return names
    .map((name) => name.trim())
    .filter((name) => name !== "" && mayFollow(name.toLowerCase()))
    .join(", ");
}

function mayFollow(name: string): boolean {
  return !NEVER_BEHIND_A_BODY.has(name) && !/^(?:x-proxy-|access-control-)/.test(name);
}
