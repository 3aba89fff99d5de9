/**
 * Rewrites an upstream's links to itself into links to the gateway, so that paging and redirects keep their credential.
 * Invariant: only the part that names the service's base changes, the rest stays byte for byte; and no link that a client follows
 * leads to another part of the gateway, where the client would repeat its key and its body. The number of links that are judged is bounded.
 */
import { cutParameters } from "../../callers/presented-keys.ts";
import type { Base } from "../prepared-service.ts";
import { type InsertedPath, withoutInserted } from "./inserted-path.ts";
import type { OwnPlace } from "./own-address.ts";

export interface LinkRewriter {
  /** A `Location` or `Content-Location` value: one URI reference. */
  location(value: string): string;
  /** A `Link` value: a list of `<URI reference>; parameters` (RFC 8288 section 3). */
  link(value: string): string;
  /** A `Refresh` value: `<seconds>; url=<URI reference>` (HTML standard, shared declarative refresh steps). */
  refresh(value: string): string;
  /** True for a value of `location` or `refresh` that leads a client to another origin than the service's and the gateway's. */
  leavesService(value: string): boolean;
  /** Whether a link that led to another part of the gateway was replaced. */
  readonly hasBlocked: boolean;
}

export interface LinkContext {
  /** All bases of the service; the longest one that fits wins. */
  readonly bases: readonly Base[];
  /** False: links stay as they are, unless they lead to another service. */
  readonly isRewriting: boolean;
  /** The URL of this request at the upstream, where its relative references start. */
  readonly requestUrl: string;
  /** `http://gateway:3420`, or empty for a reference without a host. */
  readonly publicBase: string;
  /** The URL of this request as the client sees it. */
  readonly clientUrl: string;
  readonly serviceKey: string;
  /** `/proxy/<key>`: where the service is on a host of the gateway. */
  readonly gatewayPrefix: string;
  /** The client uses the service's own host or port, whose root is the service's. */
  readonly isAtOwnAddress: boolean;
  /** Where on the gateway a URL leads; undefined for another server. */
  readonly locate: (url: URL) => OwnPlace | undefined;
  /** The inserted paths of the credential: only links below one of them lead to the service. */
  readonly inserted: readonly InsertedPath[];
  /** The query parameters that carry the credential: an upstream may repeat its own URL, and they must not come back. */
  readonly secretParameters: readonly string[];
}

const SCHEME_AND_AUTHORITY = /^(?:([a-z][a-z0-9+.-]*):)?\/\/([^/?#]*)/i;

/** A reference to this host that clients read differently: to the URL standard `\` is `/`, and a tab is nothing. */
const SCHEMELESS_ODD = /^(?![a-z][a-z0-9+.-]*:).*[\\\t]/i;

/** What follows the scheme decides, not the client's own URL. `https:/path` is a path where the client uses this scheme. */
const ABSOLUTE = /^https?:\/\//i;

/** Link targets. A quoted parameter is skipped, to its end even where its closing quote is missing. */
const LINK_TARGETS = /"(?:[^"\\]|\\.)*(?:"|\\?$)|<([^<>]*)>/g;

/** Of one response. No client follows more, and judging one takes some microseconds. */
const LINKS_LIMIT = 1_000;

/** In a quoted parameter. Clients that search for `<…>; rel="next"` do not see the quotes. */
const QUOTED_TARGETS = /<([^<>]*)>/g;

/** Time and separator, `url=`, an opening quote; then the reference. */
const REFRESH = /^([\s\d.]*[;,]?\s*(?:url\s*=\s*)?)(["']?)(.*)$/is;

/** A path that a client would read as another host, where nothing precedes it. */
const NAMES_HOST = /^\/[\t\r\n]*[/\\]/;

/** A path-relative reference that leads upwards: to a client that knows only a part of the upstream's path, it may end at another place. */
const CLIMBS = /^(?![a-z][a-z0-9+.-]*:|[/\\?#])[^?#]*(?:\.|%2e){2}/i;

/** What needs a key: `/proxy` and `/manage`. */
const GUARDED = /^\/+(?:proxy|manage)(?:\/|$)/i;

export function createLinkRewriter(context: LinkContext): LinkRewriter {
  const { bases, isRewriting, requestUrl, clientUrl } = context;
  const { locate, leadsAstray } = createJudge(context);
  const rewrite = createBaseRewriter(context);
  const root = rootOf(context);
  let hasBlocked = false;
  let left = LINKS_LIMIT;

  function location(value: string): string {
    const reference = withoutSecrets(value, context.secretParameters);
    const isMoved = context.isAtOwnAddress && CLIMBS.test(reference) && URL.canParse(reference, requestUrl);
    const written = isRewriting ? rewrite(isMoved ? new URL(reference, requestUrl).href : reference) : reference;
    if (!leadsAstray(written)) return written;
    // Such as `../x`: a path of the upstream, which a client would resolve on the gateway.
    if (isRewriting && URL.canParse(reference, requestUrl)) {
      const meant = rewrite(new URL(reference, requestUrl).href);
      if (!leadsAstray(meant)) return meant;
    }
    return block();
  }

  function block(): string {
    hasBlocked = true;
    return `${root}/`;
  }

  /** The value without the links that are over the limit: a list may end in a comma (RFC 9110 section 5.6.1.2). */
  function withinLimit(value: string): string {
    for (let at = value.indexOf("<"); at !== -1; at = value.indexOf("<", at + 1)) {
      if (left-- > 0) continue;
      hasBlocked = true;
      return value.slice(0, at);
    }
    return value;
  }

  return {
    location: (value) => (left-- > 0 ? location(value) : block()),
    link: (value) =>
      withinLimit(value).replace(LINK_TARGETS, (whole, target?: string) =>
        target === undefined
          ? whole.replace(QUOTED_TARGETS, (text, quoted: string) => (leadsAstray(quoted) ? `<${block()}>` : text))
          : `<${location(target)}>`,
      ),
    refresh(value) {
      const { before, reference, after } = readRefresh(value);
      return left-- > 0 ? before + location(reference) + after : before + block() + after;
    },
    leavesService(reference) {
      const urls = readings(reference, clientUrl);
      return (
        urls.length === 0 ||
        urls.some((url) => locate(url) === undefined && !bases.some(({ origin }) => origin === url.origin))
      );
    },
    get hasBlocked() {
      return hasBlocked;
    },
  };
}

/** Replaces a base of the service by the gateway, without touching the rest. */
function createBaseRewriter({ requestUrl, inserted, ...context }: LinkContext): (value: string) => string {
  const bases = [...context.bases].sort((a, b) => b.prefix.length - a.prefix.length);
  const { origin: requestOrigin } = new URL(requestUrl);
  const root = rootOf(context);
  return function rewrite(value) {
    const reference =
      SCHEMELESS_ODD.test(value) && URL.canParse(value, requestUrl) ? new URL(value, requestUrl).href : value;
    const target = absolute(reference, requestOrigin);
    if (target === undefined) return reference;
    for (const base of bases) {
      if (base.origin === target.origin && isUnder(base.prefix, target.rest)) {
        const rest = target.rest.slice(base.prefix.length);
        const own = inserted.length === 0 ? rest : withoutInserted(rest, inserted);
        if (own !== undefined) return join(root + base.versionPath, own);
      }
    }
    // A path of the upstream outside the service: without its origin a client would resolve it on the gateway.
    return SCHEME_AND_AUTHORITY.test(reference) ? reference : target.origin + target.rest;
  };
}

/** Where the service's paths begin, for the client of this request. */
function rootOf({
  isAtOwnAddress,
  publicBase,
  gatewayPrefix,
}: Pick<LinkContext, "isAtOwnAddress" | "publicBase" | "gatewayPrefix">) {
  return isAtOwnAddress ? publicBase : publicBase + gatewayPrefix;
}

/** Judges where clients arrive that follow a link. */
function createJudge(context: LinkContext) {
  const { isRewriting, clientUrl, publicBase, serviceKey, gatewayPrefix } = context;
  const { host: clientHost } = new URL(clientUrl);
  const publicPath = publicBase.replace(/^[a-z]+:\/\/[^/]*/i, "");
  const here: OwnPlace = { service: context.isAtOwnAddress ? serviceKey : undefined };
  const locate = (url: URL) => (url.host === clientHost ? here : context.locate(url));
  return {
    locate,
    /** Whether a client that follows the reference reaches the gateway outside of the service. */
    leadsAstray(reference: string): boolean {
      return readings(reference, clientUrl).some((url) => {
        const { pathname } = url;
        const place = locate(url);
        if (place?.service !== undefined) return place.service !== serviceKey;
        if (place === undefined || isInside(pathname, publicPath + gatewayPrefix)) return false;
        if (isRewriting) return true;
        // The client may reach the gateway without the server that removes the path of PUBLIC_URL, too.
        const path = percentDecoded(pathname);
        return GUARDED.test(path) || (path.startsWith(publicPath) && GUARDED.test(path.slice(publicPath.length)));
      });
    },
  };
}

/** A link below the root. An empty root leaves the host to the client, so that the rest must be a path, and no host. */
function join(root: string, rest: string): string {
  if (root !== "") return root + rest;
  if (NAMES_HOST.test(rest)) return `/.${rest}`;
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** The parts of a `Refresh` value; the reference is empty for one that only reloads. */
export function readRefresh(value: string): { before: string; reference: string; after: string } {
  const [, before = "", quote = "", rest = ""] = REFRESH.exec(value) ?? [];
  const end = quote === "" ? -1 : rest.indexOf(quote);
  return end === -1
    ? { before: before + quote, reference: rest, after: "" }
    : { before: before + quote, reference: rest.slice(0, end), after: rest.slice(end) };
}

/**
 * What clients may take the reference for: that of the URL standard, to which `\` is `/`, and that of RFC 3986, to which it is not.
 * To a client in front of a TLS-terminating proxy the base has another scheme. Empty for one that no client follows.
 */
function readings(reference: string, baseUrl: string): URL[] {
  const texts = reference.includes("\\") ? [reference, reference.replaceAll("\\", "%5C")] : [reference];
  const bases = reference.includes(":") && !ABSOLUTE.test(reference) ? [baseUrl, withOtherScheme(baseUrl)] : [baseUrl];
  return texts
    .flatMap((text) => bases.filter((base) => URL.canParse(text, base)).map((base) => new URL(text, base)))
    .filter(({ protocol }) => protocol === "http:" || protocol === "https:");
}

function withOtherScheme(url: string): string {
  return url.startsWith("https:") ? `http:${url.slice("https:".length)}` : `https:${url.slice("http:".length)}`;
}

/** @param pathname from the URL parser, which has resolved dot segments. Servers may read `%2f` as a slash. */
function isInside(pathname: string, servicePath: string): boolean {
  const isBelow = (path: string) => path === servicePath || path.startsWith(`${servicePath}/`);
  if (!isBelow(pathname)) return false;
  return !/%(?:2f|5c)/i.test(pathname) || isBelow(new URL(`http://x${pathname.replace(/%(?:2f|5c)/gi, "/")}`).pathname);
}

function percentDecoded(path: string): string {
  return path.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
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
