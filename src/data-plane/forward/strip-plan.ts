/**
 * Which request headers end at the gateway, worked out once a service.
 * Invariant: strip first, add after. A name counts in any case and with `_` for `-`, because the servers behind us
 * read `X_Api_Key` as `x-api-key`.
 */
import type { Service } from "../../config/schema.ts";
import type { CredentialPlace } from "../credential/credential-provider.ts";

/** RFC 9110 section 7.6.1, and the older names that real peers still send. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Written by the gateway itself, or ending at it; `x-forwarded-*` is told by its prefix. */
const ENDS_HERE = [
  "host",
  "content-length",
  "expect",
  "x-api-key",
  "forwarded",
  "x-real-ip",
  "origin",
  "referer",
  "via",
  "x-request-id",
  "traceparent",
] as const;

/** What `forwardedHeaders` writes. */
const FORWARDED = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] as const;

/** Of one service, and there may be thousands: whoever makes up more has them worked out each time. */
const KNOWN_NAMES_LIMIT = 64;
const KNOWN_NAME_LENGTH_LIMIT = 64;

export interface StripPlan {
  /** @param name as the caller wrote it. @returns it in lower case, or nothing for one that is not forwarded. */
  forwardedAs(name: string): string;
  /** Lower-case names and values that the caller's own value replaces. */
  readonly defaults: readonly (readonly [lowerCaseName: string, name: string, value: string])[];
  /** Flat list of the forced headers. */
  readonly forced: readonly string[];
  /** True for the lower-case name of a forced header: the gateway's own of that name gives way to it. */
  forces(name: string): boolean;
}

export function createStripPlan(service: Service, places: readonly CredentialPlace[]): StripPlan {
  const dropped = new Set<string>([...HOP_BY_HOP, ...ENDS_HERE]);
  if (!service.cookies) dropped.add("cookie");
  for (const { kind, name } of places) if (kind === "header") dropped.add(name.toLowerCase());
  // A service with a credential of its own never sees the caller's Authorization, even if its own goes elsewhere.
  if (places.length > 0) dropped.add("authorization");
  for (const name of service.removeHeaders) dropped.add(name.toLowerCase());
  const forcedNames = new Set(Object.keys(service.setHeaders).map((name) => name.toLowerCase()));
  for (const name of forcedNames) dropped.add(name);
  // Always sent, so that a default never has its turn.
  const ownNames = new Set(["x-request-id", "traceparent", ...(service.forwardedHeaders ? FORWARDED : [])]);

  const drops = (name: string) => dropped.has(name) || isForwardedFor(name) || (name.includes("_") && isTwin(name));
  const isTwin = (name: string) => {
    const dashed = name.replaceAll("_", "-").replace(/^-+|-+$/g, "");
    return dropped.has(dashed) || dashed === "authorization" || dashed === "cookie" || isForwardedFor(dashed);
  };
  /** Programs write the same few names again and again: a look costs a third of working it out. */
  const known = new Map<string, string>();
  return {
    forwardedAs(name) {
      let verdict = known.get(name);
      if (verdict === undefined) {
        const lowerCaseName = name.toLowerCase();
        verdict = drops(lowerCaseName) ? "" : lowerCaseName;
        if (known.size < KNOWN_NAMES_LIMIT && name.length <= KNOWN_NAME_LENGTH_LIMIT) known.set(name, verdict);
      }
      return verdict;
    },
    defaults: Object.entries(service.headers)
      .map(([name, value]) => [name.toLowerCase(), name, value] as const)
      .filter(([name]) => !ownNames.has(name)),
    forced: Object.entries(service.setHeaders).flat(),
    forces: (name) => forcedNames.has(name),
  };
}

/** All of `x-forwarded-*`. */
function isForwardedFor(name: string): boolean {
  return name.startsWith("x-forwarded-");
}
