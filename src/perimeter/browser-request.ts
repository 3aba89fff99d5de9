/**
 * Recognizes requests of browsers by what browsers add to them, and what a page cannot change: Origin, Sec-Fetch-Site, User-Agent.
 * Invariant: in doubt a request of a browser counts as one of a foreign page.
 */
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";
import { hostName, isLoopbackHost } from "../config/hosts.ts";
import type { Settings } from "../config/settings.ts";

/** Every browser in use begins its User-Agent so, and a page cannot change it without a preflight. */
const BROWSER_AGENT = /^(?:Mozilla|Opera)\//i;

/** Browsers send no Sec-Fetch-* to a plain HTTP name; only the User-Agent is left then. */
export function hasBrowserAgent(headers: IncomingHttpHeaders): boolean {
  return BROWSER_AGENT.test(headers["user-agent"] ?? "");
}

/** Whether a browser sent the request, as far as it shows. A program may send the same headers. */
export function isOfBrowser(headers: IncomingHttpHeaders): boolean {
  if (headers.origin !== undefined || hasBrowserAgent(headers)) return true;
  return Object.keys(headers).some((name) => name.startsWith("sec-fetch-"));
}

/** Names under which no foreign page can be served by DNS rebinding. */
export type OwnNames = (host: string | undefined) => boolean;

/** Loopback names, addresses, and the names that the operator lists. */
export function createOwnNames({ ALLOWED_HOSTS = [], PUBLIC_URL }: Partial<Settings>): OwnNames {
  const listed = new Set(ALLOWED_HOSTS.map(hostName));
  if (PUBLIC_URL !== undefined) listed.add(hostName(new URL(PUBLIC_URL).host));
  return (host) => {
    const name = hostName(host);
    return listed.has(name) || isLoopbackHost(name) || isIP(name) !== 0;
  };
}

/** Whether a page of another origin may have sent the request, whatever the configuration says about that origin. */
export function mayBeOfForeignPage(headers: IncomingHttpHeaders, isOwnName: OwnNames): boolean {
  const { origin, host } = headers;
  // Over https the name is that of a certificate; over http the name may be the page's, with the address of this machine.
  const isOwn = origin === `https://${host}` || (origin === `http://${host}` && isOwnName(host));
  if (origin !== undefined && !isOwn) return true;
  const site = headers["sec-fetch-site"];
  // The gateway's pages send no images. A response of an upstream may ask for them by `Link: …; rel=preload`.
  if (site === "same-origin") return headers["sec-fetch-mode"] === "no-cors";
  if (site !== undefined) return site !== "none";
  // A page's own request with an Origin, or one of which nothing is known.
  return origin === undefined && hasBrowserAgent(headers);
}
