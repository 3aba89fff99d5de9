/**
 * Links that an upstream gives to itself, turned into links to the gateway, so that paging and redirects stay
 * behind the credential. Pure. Invariant: only the part that names the service's base changes; the rest stays byte for byte.
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
  /** All bases of the service; the longest one that fits wins. None: links are left as they are. */
  readonly bases: readonly Base[];
  /** The base that this request went to: relative references start there. */
  readonly requestOrigin: string;
  /** `http://gateway:3420`, or empty for a reference without a host. */
  readonly publicBase: string;
  /** The query parameter that carries the credential: upstreams repeat their own URL, and it must not come back. */
  readonly secretParameter: string | undefined;
}

const SCHEME_AND_AUTHORITY = /^(?:([a-z][a-z0-9+.-]*):)?\/\/([^/?#]*)/i;

export function createLinkRewriter(context: LinkContext): LinkRewriter {
  const bases = [...context.bases].sort((a, b) => b.prefix.length - a.prefix.length);

  function location(value: string): string {
    const reference = withoutSecret(value, context.secretParameter);
    if (bases.length === 0) return reference;
    const target = absolute(reference, context.requestOrigin);
    if (target === undefined) return reference;
    for (const base of bases) {
      if (base.origin === target.origin && isUnder(base.prefix, target.rest)) {
        return context.publicBase + base.gatewayPrefix + target.rest.slice(base.prefix.length);
      }
    }
    // A path of the upstream's outside the service: without its origin a client would look for it on the gateway.
    return SCHEME_AND_AUTHORITY.test(reference) ? reference : target.origin + target.rest;
  }

  return {
    location,
    link: (value) => value.replace(/<([^<>]*)>/g, (_, reference: string) => `<${location(reference)}>`),
  };
}

/** Origin and the rest of an absolute or path-absolute reference; undefined for what the client resolves rightly itself. */
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

function withoutSecret(reference: string, secretParameter: string | undefined): string {
  const start = reference.indexOf("?");
  if (secretParameter === undefined || start === -1) return reference;
  const hash = reference.indexOf("#", start);
  const end = hash === -1 ? reference.length : hash;
  const kept = cutParameters(reference.slice(start + 1, end), [secretParameter]);
  return reference.slice(0, start) + (kept === undefined ? "" : `?${kept}`) + reference.slice(end);
}
