/**
 * The egress proxy: the HTTP proxy through which the gateway reaches upstreams.
 * Invariant: a credential for a proxy comes from the environment only, and is sent to that proxy only; `url` never contains it.
 */
import { z } from "zod";
import { createNoProxy } from "./no-proxy.ts";
import { Secret } from "./secret.ts";

export interface EgressProxy {
  /** Without user info: `http://proxy.example:3128`. */
  readonly url: string;
  /** The connection to the proxy is encrypted. */
  readonly isTls: boolean;
  /** Without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** `user:password`, decoded. */
  readonly credential: Secret | undefined;
}

export const PROXY_FORM = "an http:// or https:// URL with a host and no path";

/** The member of a service. */
export const egressProxyMember = z.union([
  z.literal(false),
  z
    .string()
    .max(2_048)
    .superRefine((text, refinement) => {
      const proxy = readProxy(text);
      if (proxy === undefined) refinement.addIssue({ code: "custom", message: PROXY_FORM });
      else if (/^[^/]*\/\/[^/?#]*@/.test(text))
        refinement.addIssue({
          code: "custom",
          message: `${PROXY_FORM}, without user info (it belongs in EGRESS_PROXY_AUTH)`,
        });
    })
    .meta({ allowed: PROXY_FORM }),
]);

/** @returns undefined for a text that names no proxy. */
export function readProxy(text: string): EgressProxy | undefined {
  if (!/^https?:\/\/[^/?#\\\s]+\/?$/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, hostname, port, username, password, origin } = new URL(text);
  const credential = readCredential(username, password);
  if (credential === null) return undefined;
  const isTls = protocol === "https:";
  return {
    url: origin,
    isTls,
    hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
    port: Number(port) || (isTls ? 443 : 80),
    credential,
  };
}

/** RFC 7617 section 2: no control characters, and no colon in the user's name. @returns null for one that cannot be sent. */
function readCredential(username: string, password: string): Secret | undefined | null {
  if (username === "" && password === "") return undefined;
  try {
    const [user, word] = [decodeURIComponent(username), decodeURIComponent(password)];
    return user.includes(":") || /[\x00-\x1f\x7f]/.test(user + word) ? null : new Secret(`${user}:${word}`);
  } catch {
    return null;
  }
}

/** The settings on which the way to an upstream depends. */
export interface ProxySettings {
  readonly EGRESS_PROXY?: EgressProxy | undefined;
  readonly EGRESS_PROXY_AUTH: readonly EgressProxy[];
  readonly NO_PROXY?: string | undefined;
  readonly STRICT_TLS: boolean;
  readonly EGRESS_ALLOW_PRIVATE?: boolean | undefined;
}

/** How connections use a proxy. */
export interface ProxyUse {
  readonly proxy: EgressProxy;
  /** Hosts that are reached directly all the same; undefined if the proxy is for every host, because the service names it. */
  readonly noProxy: string | undefined;
  /** The operator has named it, so it may have any address but those that are never dialed. */
  readonly isOperators: boolean;
  /** Names are resolved and checked here, and the proxy gets the checked address. */
  readonly resolvesHere: boolean;
  /** The certificate of an https:// proxy is verified. */
  readonly isTlsStrict: boolean;
}

/** @param own `egressProxy` of the service. @param isFromRest the service was added over REST. */
export function proxyUseOf(
  own: string | false | undefined,
  isFromRest: boolean,
  { EGRESS_PROXY: common, EGRESS_PROXY_AUTH: known, NO_PROXY, STRICT_TLS, EGRESS_ALLOW_PRIVATE }: ProxySettings,
): ProxyUse | undefined {
  const named = own === undefined ? common : own === false ? undefined : readProxy(own);
  if (named === undefined) return undefined;
  const same = [common, ...known].filter((other) => other?.url === named.url);
  const credential = named.credential ?? same.find((other) => other?.credential !== undefined)?.credential;
  return {
    proxy: { ...named, credential },
    noProxy: own === undefined ? (NO_PROXY ?? "") : undefined,
    isOperators: !isFromRest || own === undefined || same.length > 0,
    resolvesHere: isFromRest || EGRESS_ALLOW_PRIVATE === false,
    isTlsStrict: STRICT_TLS,
  };
}

/** The URL of the proxy through which this URL is reached, without user info; undefined for a direct connection. */
export function proxyUrlFor(use: ProxyUse | undefined, url: string): string | undefined {
  if (use === undefined) return undefined;
  const { hostname, port, protocol } = new URL(url);
  const isDirect =
    use.noProxy !== undefined &&
    createNoProxy(use.noProxy)(hostname, Number(port) || (protocol === "https:" ? 443 : 80));
  return isDirect ? undefined : use.proxy.url;
}

/** Whether two values of `egressProxy` mean the same way out. */
export function isSameProxy(one: unknown, other: unknown): boolean {
  const meant = (value: unknown) => (typeof value === "string" ? (readProxy(value)?.url ?? value) : value);
  return meant(one) === meant(other);
}

/** For comparison: everything that a connection depends on, the credential included. */
export function describeUse(use: ProxyUse | undefined): string {
  if (use === undefined) return "";
  return JSON.stringify([use, use.proxy.credential?.reveal()]);
}

/** What a log or a response must not show. */
export function secretsOfProxies({ EGRESS_PROXY: common, EGRESS_PROXY_AUTH: known }: ProxySettings): string[] {
  return [common, ...known].flatMap((proxy) => {
    const pair = proxy?.credential?.reveal();
    if (pair === undefined) return [];
    const password = pair.slice(pair.indexOf(":") + 1);
    // A shorter one would hide parts of other words.
    return password.length < 4 ? [pair] : [pair, password];
  });
}
