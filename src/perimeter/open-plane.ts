/**
 * Guards of a plane that has no key: only the developer's own programs on this machine may use it,
 * not a web page that they visit (DNS rebinding, cross-site requests) and not the world behind another proxy.
 */
import type { IncomingHttpHeaders } from "node:http";
import { isLoopbackHost } from "../config/hosts.ts";
import type { Config } from "../config/load-config.ts";
import { GatewayError } from "../errors.ts";

/** The names of this list, in any case, with any port. */
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

/** Lower-cased, without port, brackets and a trailing dot; an IPv6 address may stand in a list without its brackets. */
function hostName(host = ""): string {
  const name = host.toLowerCase();
  const bracketed = /^\[([^\]]*)\]/.exec(name)?.[1];
  if (bracketed !== undefined) return bracketed;
  return name.replace(/^([^:]*):\d*$/, "$1").replace(/\.$/, "");
}

export type OpenPlaneGuard = (headers: IncomingHttpHeaders) => GatewayError | undefined;

/** Made once from the configuration; the guard is asked only for planes without a key. */
export function createOpenPlaneGuard(config: Pick<Config, "settings">, keyVariable: string): OpenPlaneGuard {
  const { ALLOWED_HOSTS, CORS_ORIGINS, PUBLIC_URL } = config.settings;
  const hosts = createHostList(ALLOWED_HOSTS);
  const origins = new Set(CORS_ORIGINS);
  if (PUBLIC_URL !== undefined) origins.add(new URL(PUBLIC_URL).origin);

  return function guardOpenPlane(headers) {
    if (!hosts.has(headers.host)) {
      return new GatewayError("HOST_NOT_ALLOWED", {
        message: "This gateway has no key set, so it answers only to the host names in ALLOWED_HOSTS.",
        hint: `Add the name to ALLOWED_HOSTS, or set ${keyVariable}.`,
      });
    }
    if (cameThroughProxy(headers)) {
      return new GatewayError("HOST_NOT_ALLOWED", {
        message: "This gateway has no key set, and the request came through another proxy.",
        hint: `Set ${keyVariable}: without a key only programs on this machine may call.`,
      });
    }
    return findForeignOrigin(headers, origins, keyVariable);
  };
}

function cameThroughProxy(headers: IncomingHttpHeaders): boolean {
  if (headers.via !== undefined || headers.forwarded !== undefined || headers["x-real-ip"] !== undefined) return true;
  for (const name in headers) if (name.startsWith("x-forwarded-")) return true;
  return false;
}

/** Browsers send no Origin with an image or a no-cors GET, but they do send Sec-Fetch-Site. */
function findForeignOrigin(
  headers: IncomingHttpHeaders,
  origins: ReadonlySet<string>,
  keyVariable: string,
): GatewayError | undefined {
  const { origin } = headers;
  const site = headers["sec-fetch-site"];
  if (origin !== undefined) {
    if (origins.has("*") || origins.has(origin) || origin === `http://${headers.host}`) return undefined;
  } else if (site === undefined || site === "same-origin" || site === "none") {
    return undefined;
  }
  return new GatewayError("ORIGIN_NOT_ALLOWED", {
    message:
      origin === undefined
        ? "A web page of another site asked, and this gateway has no key set."
        : `Origin ${printable(origin)} is not in CORS_ORIGINS, and this gateway has no key set.`,
    hint: `Add the origin to CORS_ORIGINS, or set ${keyVariable}.`,
  });
}

function printable(text: string): string {
  return text.replace(/[^\x21-\x7e]/g, "?").slice(0, 200);
}
