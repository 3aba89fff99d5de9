/**
 * Rewrites an upstream's links to itself into links to the gateway, so that paging and redirects keep their credential.
 * Invariant: only the part that names the service's base changes; the rest stays byte for byte.
 */
import { cutParameters } from "../../callers/presented-keys.ts";
import type { Base } from "../prepared-service.ts";

export interface LinkRewriter {
  /** A `Location` or `Content-Location` value: one URI reference. */
  location(value: string): string;
  /** A `Link` value: a list of `<URI reference>; parameters` (RFC 8288 section 3). */
  link(value: string): string;
}

export interface LinkContext {
  /** All bases of the service; the longest one that fits wins. Empty: links stay as they are. */
  readonly bases: readonly Base[];
  /** The base that this request went to: relative references start there. */
  readonly requestOrigin: string;
  /** `http://gateway:3420`, or empty for a reference without a host. */
  readonly publicBase: string;
  /** The query parameters that carry the credential: an upstream may repeat its own URL, and they must not come back. */
  readonly secretParameters: readonly string[];
}

const SCHEME_AND_AUTHORITY = /^(?:([a-z][a-z0-9+.-]*):)?\/\/([^/?#]*)/i;

export function createLinkRewriter(context: LinkContext): LinkRewriter {
  const bases = [...context.bases].sort((a, b) => b.prefix.length - a.prefix.length);

  function location(value: string): string {
    const reference = withoutSecrets(value, context.secretParameters);
    if (bases.length === 0) return reference;
    const target = absolute(reference, context.requestOrigin);
    if (target === undefined) return reference;
    for (const base of bases) {
      if (base.origin === target.origin && isUnder(base.prefix, target.rest)) {
        return context.publicBase + base.gatewayPrefix + target.rest.slice(base.prefix.length);
      }
    }
    // A path of the upstream outside the service: without its origin a client would resolve it on the gateway.
    return SCHEME_AND_AUTHORITY.test(reference) ? reference : target.origin + target.rest;
  }

  return {
    location,
    link: (value) => value.replace(/<([^<>]*)>/g, (_, reference: string) => `<${location(reference)}>`),
  };
}

/** Origin and the rest of an absolute or path-absolute reference; undefined for a reference that the client resolves correctly itself. */
function absolute(reference: string, requestOrigin: string): { origin: string; rest: string } | undefined {
  const match = SCHEME_AND_AUTHORITY.exec(reference);
  if (match === null) return reference.startsWith("/") ? { origin: requestOrigin, rest: reference } : undefined;
  const scheme = match[1] ?? requestOrigin.slice(0, requestOrigin.indexOf(":"));
  const url = `${scheme}://${match[2]}`;
  // The URL parser folds case and default ports, so that `HTTPS://API.example.com:443` is the same origin.
  if (!/^https?$/i.test(scheme) || !URL.canParse(url) || url.includes("@")) return undefined;
  return { origin: new URL(url).origin, rest: reference.slice(match[0].length) };
}

/** True when `rest` is the prefix itself or a path below it, and no dot segment leads out again. */
function isUnder(prefix: string, rest: string): boolean {
  if (!rest.startsWith(prefix)) return false;
  const next = rest.charAt(prefix.length);
  if (next !== "" && next !== "/" && next !== "?" && next !== "#") return false;
  const path = rest.split(/[?#]/, 1)[0] as string;
  return !/(?:^|[/\\])(?:\.|%2e){1,2}(?:[/\\]|$)/i.test(path);
}

function withoutSecrets(reference: string, secretParameters: readonly string[]): string {
  const start = reference.indexOf("?");
  if (secretParameters.length === 0 || start === -1) return reference;
  const hash = reference.indexOf("#", start);
  const end = hash === -1 ? reference.length : hash;
  const kept = cutParameters(reference.slice(start + 1, end), secretParameters);
  return reference.slice(0, start) + (kept === undefined ? "" : `?${kept}`) + reference.slice(end);
}

/**
 * `Set-Cookie` of a service with `cookies: true`, limited to that service: all services share one host, the gateway's.
 * `Domain` is removed and `Path` moves under the service (RFC 6265 section 5.2); everything else stays as it is.
 */
export function scopeCookie(setCookie: string, base: Base, serviceKey: string): string {
  const [pair = "", ...attributes] = setCookie.split(";");
  let path = "";
  const kept = attributes.filter((attribute) => {
    const [name = "", ...value] = attribute.split("=");
    const lowerCaseName = name.trim().toLowerCase();
    if (lowerCaseName === "path") path = value.join("=").trim();
    return lowerCaseName !== "path" && lowerCaseName !== "domain";
  });
  return [pair, ...kept, ` Path=${gatewayPath(path, base, serviceKey)}`].join(";");
}

function gatewayPath(path: string, base: Base, serviceKey: string): string {
  const isBelowBase = path === base.prefix || path.startsWith(`${base.prefix}/`);
  if (!path.startsWith("/") || !isBelowBase) return `/proxy/${serviceKey}/`;
  const rest = path.slice(base.prefix.length);
  return base.gatewayPrefix + (rest === "" ? "/" : rest);
}
