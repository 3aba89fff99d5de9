/** The variables of the egress proxy. Invariant: those that may hold a credential count as secrets, and no problem shows them. */
import { type EgressProxy, PROXY_FORM, readProxy } from "./egress-proxy.ts";
import type { Variable } from "./env.ts";
import { setting, splitList, text } from "./setting-kinds.ts";

export const EGRESS_PROXY = setting(`${PROXY_FORM}, optionally with user:password@`, readProxy)
  .optional()
  .describe(
    "HTTP proxy for connections to upstreams, such as `http://user:password@proxy.example:3128`; `egressProxy` of a service wins",
  )
  .meta({ secret: true, default: "none: upstreams are connected to directly" });

export const EGRESS_PROXY_AUTH = setting("comma-separated URLs, each with user:password@ and a host", (text) => {
  const proxies = splitList(text).map(readProxy);
  return proxies.every((proxy) => proxy?.credential !== undefined) ? (proxies as readonly EgressProxy[]) : undefined;
})
  .prefault("")
  .describe(
    "credentials for the proxies that `EGRESS_PROXY` and `egressProxy` name without one: comma-separated `http://user:password@proxy.example:3128`",
  )
  .meta({ secret: true, default: "none" });

export const NO_PROXY = text("a list")
  .optional()
  .describe(
    "hosts that are reached without `EGRESS_PROXY`: comma-separated names (each with the names under it), addresses and CIDRs, optionally with a port; `*` for all; loopback always",
  )
  .meta({ default: "loopback" });

/** Variables of other programs for the same purpose. */
const OF_OTHERS = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/** Warns of a proxy that the operator may expect the gateway to use. */
export function reviewProxyVariables(
  variables: ReadonlyMap<string, Variable>,
  services: Iterable<{ readonly egressProxy?: string | false | undefined }>,
): string[] {
  if (variables.has("EGRESS_PROXY") || variables.has("EGRESS_PROXY_FILE")) return [];
  for (const { egressProxy } of services) if (egressProxy !== undefined) return [];
  const name = OF_OTHERS.find((each) => variables.has(each));
  if (name === undefined) return [];
  const origin = variables.get(name)?.origin;
  return [`${name} (${origin}): has no effect, upstreams are connected to directly; did you mean EGRESS_PROXY?`];
}
