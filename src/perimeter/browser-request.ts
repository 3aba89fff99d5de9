/**
 * Recognizes requests of browsers by what browsers add to them, and what a page cannot change: Origin, Sec-Fetch-Site, User-Agent.
 * Invariant: in doubt a request of a browser counts as one of a foreign page.
 */
import type { IncomingHttpHeaders } from "node:http";

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

/** Whether a page of another origin may have sent the request, whatever the configuration says about that origin. */
export function mayBeOfForeignPage(headers: IncomingHttpHeaders): boolean {
  const { origin, host } = headers;
  if (origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`) return true;
  const site = headers["sec-fetch-site"];
  if (site !== undefined) return site !== "same-origin" && site !== "none";
  // A page's own request with an Origin, or one of which nothing is known.
  return origin === undefined && hasBrowserAgent(headers);
}
