/**
 * Keeps pages of upstreams apart from the gateway's own pages and from each other: in a browser all of them have one origin.
 * Invariant: with `webContent: isolate` no header of an upstream acts on the whole origin, and every document that may run a script
 * gets a sandbox of its own, with an origin that nothing shares. No page shows a key in its URL to another host.
 */

/** Response headers that act on the whole origin or host, in some browser, beyond the response that they belong to. */
export const ORIGIN_WIDE: readonly string[] = [
  // Storage, caches and workers.
  "clear-site-data",
  "origin-agent-cluster",
  "service-worker-allowed",
  "shared-storage-write",
  "use-as-dictionary",
  // Transport.
  "expect-ct",
  "public-key-pins",
  "public-key-pins-report-only",
  "strict-transport-security",
  // Reports about other pages.
  "nel",
  "report-to",
  "reporting-endpoints",
  // What the browser sends with later requests, and which user it signs in.
  "accept-ch",
  "accept-ch-lifetime",
  "critical-ch",
  "secure-session-challenge",
  "secure-session-registration",
  "sec-private-state-token",
  "sec-session-challenge",
  "sec-session-registration",
  "set-login",
  "set-txn",
  // Features and advertising.
  "ad-auction-signals",
  "attribution-reporting-info",
  "attribution-reporting-register-os-source",
  "attribution-reporting-register-os-trigger",
  "attribution-reporting-register-source",
  "attribution-reporting-register-trigger",
  "observe-browsing-topics",
  "origin-trial",
  // Requests that a page of this origin would make.
  "speculation-rules",
  "supports-loading-mode",
  "x-permitted-cross-domain-policies",
];

/** The types of most API responses, compared before the patterns. */
const INERT: ReadonlySet<string> = new Set([
  "application/json",
  "application/json; charset=utf-8",
  "application/json;charset=utf-8",
  "application/octet-stream",
  "text/event-stream",
  "text/plain",
  "text/plain; charset=utf-8",
]);

/** One well-formed type (RFC 9110 section 8.3.1). Browsers read a list, and some a malformed type, as another type than it seems to be. */
const ONE_TYPE = /^[a-z]+\/[a-z0-9][\w.+-]*[\t ]*(?:;[^,]*)?$/i;
const ACTIVE_TYPE = /^(?:multipart|message)\/|^[^;]*(?:html|xml|svg|xsl|rdf|mht|unknown)/i;

/** For a page whose URL contains a key: it loads nothing and contacts no host, because a request of it could show its URL as the referrer. */
const SILENT =
  "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'";

/** Directives that send a report, with the page's URL, to another host. */
const REPORTS = /^\s*report-(?:uri|to)(?:\s|$)/i;

/**
 * Adds what isolates the response. HTML, SVG, XML, what may contain them and what has no clear type get a sandbox; so does a response with
 * a policy of its own, because a 304 replaces the policy of the stored response.
 * @param headers a flat list for the client, which is judged as it will be sent. @param isKeyInUrl the request's URL contains a key of
 * the gateway: then no page, whatever its type, shows the URL to another host.
 */
export function isolate(headers: string[], isKeyInUrl: boolean): void {
  let types = 0;
  let isInert = false;
  let hasPolicy = false;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i];
    if (name === "content-security-policy") hasPolicy = true;
    else if (name === "content-type") {
      const type = headers[i + 1] as string;
      types++;
      isInert = INERT.has(type) || (ONE_TYPE.test(type) && !ACTIVE_TYPE.test(type));
    }
  }
  headers.push("X-Content-Type-Options", "nosniff");
  if (isKeyInUrl) {
    removeReports(headers);
    headers.push("Referrer-Policy", "no-referrer", "Content-Security-Policy", SILENT);
  } else if (types !== 1 || !isInert || hasPolicy) {
    // A further line, so that the upstream's own policies still apply.
    headers.push("Content-Security-Policy", "sandbox");
  }
}

/** A policy also reports what it does not block, and the upstream chooses the host. */
function removeReports(headers: string[]): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) {
    const name = headers[i];
    if (name === "referrer-policy" || name === "content-security-policy-report-only") headers.splice(i, 2);
    else if (name === "content-security-policy") {
      // A comma begins another policy (CSP level 3, section 3.1).
      headers[i + 1] = (headers[i + 1] as string).replace(/[^;,]+/g, (each) => (REPORTS.test(each) ? "" : each));
    }
  }
}
