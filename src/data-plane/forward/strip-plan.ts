/**
 * The request headers that the gateway removes, computed once for each service.
 * Invariant: strip first, then add. A name is matched in any case and with `_` for `-`, because some servers read `X_Api_Key` as
 * `x-api-key`.
 */
import { SIGNATURE_NAMES } from "../../config/aws-signature-names.ts";
import type { Service } from "../../config/schema.ts";
import { messageRuleOf } from "../../config/ws-schema.ts";
import type { CredentialPlace } from "../credential/credential-provider.ts";
import { signatureNames } from "../signature/claim.ts";
import { UNSCRUBBABLE_REQUEST_FIELDS } from "./scrub/scrubbed-fields.ts";

/** RFC 9110 section 7.6.1, and older names that clients and servers still send. */
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

/** Headers that the gateway writes itself or consumes; `x-forwarded-*` is matched by its prefix. */
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

/** The headers that `forwardedHeaders` adds. */
const FORWARDED = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] as const;

/** Names cached for one service. A client that sends more names has them computed each time. */
const KNOWN_NAMES_LIMIT = 64;
const KNOWN_NAME_LENGTH_LIMIT = 64;

export interface StripPlan {
  /** @param name as the client wrote it. @returns it in lower case; empty for a header that is not forwarded. */
  forwardedAs(name: string): string;
  /** Lower-case names and values, replaced by the client's own value. */
  readonly defaults: readonly (readonly [lowerCaseName: string, name: string, value: string])[];
  /** Flat list of the forced headers. */
  readonly forced: readonly string[];
  /** Lower-case names of the gateway's own headers that are not sent: a forced header replaces them, or `removeHeaders` names them. */
  readonly omittedOwn: ReadonlySet<string>;
}

export function createStripPlan(
  service: Service,
  places: readonly Pick<CredentialPlace, "kind" | "name">[],
): StripPlan {
  const dropped = new Set<string>([...HOP_BY_HOP, ...ENDS_HERE]);
  const unsent = new Set(service.scrubBodies ? UNSCRUBBABLE_REQUEST_FIELDS : []);
  // The gateway reads messages, which an extension would compress (RFC 7692).
  if (messageRuleOf(service.ws) !== undefined) unsent.add("sec-websocket-extensions");
  for (const name of unsent) dropped.add(name);
  if (!service.cookies) dropped.add("cookie");
  for (const { kind, name } of places) {
    if (kind === "header") dropped.add(name.toLowerCase());
    if (kind === "signature") for (const each of SIGNATURE_NAMES) dropped.add(each.toLowerCase());
    // Written again with the items that do not belong to the credential.
    if (kind === "subprotocol") dropped.add("sec-websocket-protocol");
  }
  // A service with a credential of its own never sees the caller's Authorization, even if its own goes elsewhere.
  if (places.length > 0) dropped.add("authorization");
  const removedNames = service.removeHeaders.map((name) => name.toLowerCase());
  for (const name of removedNames) dropped.add(name);
  const forcedNames = new Set(Object.keys(service.setHeaders).map((name) => name.toLowerCase()));
  for (const name of forcedNames) dropped.add(name);
  const allOwn = ["x-request-id", "traceparent", ...(service.forwardedHeaders ? FORWARDED : [])];
  const omittedOwn = new Set(allOwn.filter((name) => forcedNames.has(name) || removedNames.includes(name)));
  // Always sent by the gateway, so a default never applies.
  const ownNames = new Set(allOwn.filter((name) => !removedNames.includes(name)));

  const drops = (name: string) => dropped.has(name) || isForwardedFor(name) || (name.includes("_") && isTwin(name));
  // An upstream may check the signature again, or trust what the gateway has checked.
  const signed = new Set(service.verify === undefined ? [] : signatureNames(service.verify));
  const isTwin = (name: string) => {
    const dashed = name.replaceAll("_", "-").replace(/^-+|-+$/g, "");
    const isKnown = dropped.has(dashed) || dashed === "authorization" || dashed === "cookie" || isForwardedFor(dashed);
    return isKnown || signed.has(dashed);
  };
  /** Programs send the same few names over and over: a lookup costs a third of the computation. */
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
      .filter(([name]) => !ownNames.has(name) && !unsent.has(name)),
    forced: [
      ...Object.entries(service.setHeaders).filter(([name]) => !unsent.has(name.toLowerCase())),
      ...(service.scrubBodies ? [["Accept-Encoding", "identity"]] : []),
    ].flat(),
    omittedOwn,
  };
}

/** All of `x-forwarded-*`. */
function isForwardedFor(name: string): boolean {
  return name.startsWith("x-forwarded-");
}
