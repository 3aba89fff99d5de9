/**
 * Guards a plane without a key: only programs on this machine may use it, no web page that the developer visits
 * (DNS rebinding, cross-site requests) and no client of another proxy.
 * Invariant: a request that could be one of these is refused, and the refusal says what to set.
 */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Plane } from "../callers/unauthenticated.ts";
import { hostName, isLoopbackHost } from "../config/hosts.ts";
import type { Config } from "../config/load-config.ts";
import { isUnderLocalhost, type ServiceAddress } from "../config/service-addresses.ts";
import { GatewayError } from "../errors.ts";
import { printable } from "../printable.ts";
import { hasBrowserAgent } from "./browser-request.ts";
import { schemeOf } from "./wire.ts";

/** Host names in any case and with any port. */
export interface HostList {
  has(host: string | undefined): boolean;
}

/** `undefined` means loopback names; `*` means every name. */
export function createHostList(allowedHosts: readonly string[] | undefined): HostList {
  if (allowedHosts === undefined) return { has: (host) => isLoopbackHost(hostName(host)) };
  if (allowedHosts.includes("*")) return { has: () => true };
  const names = new Set(allowedHosts.map((host) => hostName(host)));
  return { has: (host) => names.has(hostName(host)) };
}

/** @param address the service's own host or port to which the request was sent. */
export type OpenPlaneGuard = (
  req: Pick<IncomingMessage, "headers" | "httpVersionMinor"> & { readonly socket?: object },
  address?: ServiceAddress,
) => GatewayError | undefined;

/** Made once for each configuration; the guard runs only on planes without a key. */
export function createOpenPlaneGuard(config: Pick<Config, "settings">, plane: Plane): OpenPlaneGuard {
  const keyVariable = plane === "proxy" ? "PROXY_API_KEY" : "MANAGEMENT_API_KEY";
  const hosts = createHostList(config.settings.ALLOWED_HOSTS);
  const origins = plane === "proxy" ? listedOrigins(config) : namedOrigins(config);
  // The gateway's pages at PUBLIC_URL have another origin than a service's own address.
  const originsAtAddress = new Set(config.settings.CORS_ORIGINS);
  const isAllowedHost = (host: string | undefined, address: ServiceAddress | undefined) =>
    hosts.has(host) || (address?.by === "host" && isUnderLocalhost(host ?? ""));

  const refuseHost = (message: string, hint: string) =>
    new GatewayError("HOST_NOT_ALLOWED", { message: `This gateway has no key set, ${message}.`, hint });
  const onlyPrograms = `Set ${keyVariable}: without a key only programs on this machine may call.`;

  return function guardOpenPlane({ headers, httpVersionMinor, socket }, address) {
    if (!isAllowedHost(headers.host, address)) {
      return refuseHost(
        "so it accepts only the host names in ALLOWED_HOSTS",
        `Add the name to ALLOWED_HOSTS, or set ${keyVariable}.`,
      );
    }
    // nginx forwards with HTTP/1.0 and adds no header unless it is configured to.
    if (httpVersionMinor === 0) return refuseHost("and HTTP/1.0 may come from another proxy", onlyPrograms);
    if (cameThroughProxy(headers)) return refuseHost("and the request came through another proxy", onlyPrograms);
    if (isUnidentifiedPage(headers)) {
      return refuseHost(
        "and a browser does not say which page sent a request to this host name",
        `Set ${keyVariable}, or use ${schemeOf(socket)}://localhost.`,
      );
    }
    return findForeignOrigin(headers, address === undefined ? origins : originsAtAddress, {
      own: `${schemeOf(socket)}://${headers.host}`,
      reason: ", and this gateway has no key set",
      alternative: `, or set ${keyVariable}`,
    });
  };
}

/**
 * Guards the routes that change the gateway, with or without a key: no page of another site may call them. With a key the
 * gateway may run behind a TLS-terminating proxy, so the gateway's own page may have an https origin.
 */
export function createForeignPageGuard(config: Pick<Config, "settings">): OpenPlaneGuard {
  const origins = namedOrigins(config);
  return ({ headers }) => {
    const isOwn = headers.origin !== undefined && headers.origin === `https://${headers.host}`;
    return isOwn
      ? undefined
      : findForeignOrigin(headers, origins, { own: `http://${headers.host}`, reason: "", alternative: "" });
  };
}

/** The origins of pages that may call: the listed ones, and the gateway's own where PUBLIC_URL is set. */
function listedOrigins({ settings }: Pick<Config, "settings">): ReadonlySet<string> {
  const { CORS_ORIGINS, PUBLIC_URL } = settings;
  return new Set(PUBLIC_URL === undefined ? CORS_ORIGINS : [...CORS_ORIGINS, new URL(PUBLIC_URL).origin]);
}

/** Without `*` and `null`: an operator that lets every page call upstreams does not mean that every page may change the gateway. */
function namedOrigins(config: Pick<Config, "settings">): ReadonlySet<string> {
  return new Set([...listedOrigins(config)].filter((origin) => origin !== "*" && origin !== "null"));
}

/**
 * The headers with which proxies, load balancers, CDNs and tunnels name the client or themselves; some programs read `_` as `-`.
 * `Client-IP` and `Connecting-IP` have many prefixes (`True-`, `CF-`, `Fly-`, `X-Cluster-`).
 */
const PROXY_HEADER =
  /^(?:via|forwarded|(?:cdn[-_]loop|cf[-_]ray|(?:ngrok|tailscale|x[-_](?:forwarded|original|real|envoy|azure|appengine|arr|proxyuser)).*)|(?:.*[-_])?(?:client|connecting|remote|real|viewer)[-_]?(?:ip|ipv6|addr|address))$/;

function cameThroughProxy(headers: IncomingHttpHeaders): boolean {
  for (const name in headers) if (PROXY_HEADER.test(name)) return true;
  return false;
}

/** Browsers send neither Origin nor Sec-Fetch-Site with an image to a plain HTTP name, except loopback ones (Fetch metadata, section 3). */
function isUnidentifiedPage(headers: IncomingHttpHeaders): boolean {
  if (headers.origin !== undefined || headers["sec-fetch-site"] !== undefined) return false;
  return hasBrowserAgent(headers) && !isLoopbackHost(hostName(headers.host));
}

/** Browsers send no Origin with an image or a no-cors GET, but they do send Sec-Fetch-Site. */
function findForeignOrigin(
  headers: IncomingHttpHeaders,
  origins: ReadonlySet<string>,
  texts: { readonly own: string; readonly reason: string; readonly alternative: string },
): GatewayError | undefined {
  const { origin } = headers;
  const site = headers["sec-fetch-site"];
  if (origin !== undefined) {
    if (origins.has("*") || origins.has(origin) || origin === texts.own) return undefined;
  } else if (site === undefined || site === "same-origin" || site === "none") {
    return undefined;
  }
  return new GatewayError("ORIGIN_NOT_ALLOWED", {
    message:
      origin === undefined
        ? `A web page of another site sent the request${texts.reason}.`
        : `Origin ${printable(origin)} is not in CORS_ORIGINS${texts.reason}.`,
    hint: `Add the origin to CORS_ORIGINS${texts.alternative}.`,
  });
}
