/** Checks whether the egress proxies open tunnels, as far as the probes of the upstreams show it. */
import { plural } from "../plural.ts";
import { type Check, conclude, isInUse } from "./check.ts";

const FINDINGS = {
  failing: {
    status: "fail",
    symptom:
      "502 UPSTREAM_UNREACHABLE or 504 UPSTREAM_TIMEOUT (proxy) for every upstream that is reached through this proxy",
    fix: "Check that the proxy runs, that this machine reaches it, and its credential (EGRESS_PROXY, EGRESS_PROXY_AUTH).",
  },
  some: {
    status: "warn",
    symptom: "502 UPSTREAM_UNREACHABLE (proxy) for some upstreams",
    fix: "Allow CONNECT to the hosts and ports of these upstreams in the proxy, or list them in NO_PROXY. The checks reach:<service> have the reasons.",
  },
} as const;

export const egressProxy: Check = {
  id: "egress-proxy",
  needs: "configuration",
  inspects: "the egress proxies, by the probes of the upstreams",
  findings: FINDINGS,
  async run({ services }, probes) {
    const urls = new Map(services().flatMap(({ service, proxyUrl }) => (proxyUrl ? [[service.key, proxyUrl]] : [])));
    if (urls.size === 0) return conclude([], "no upstream is reached through an egress proxy", {});
    const proxies: Record<string, { services: number; probed: number; failed: string[] }> = {};
    for (const { service } of services().filter((each) => isInUse(each.service))) {
      const url = urls.get(service.key);
      if (url === undefined) continue;
      proxies[url] ??= { services: 0, probed: 0, failed: [] };
      const counted = proxies[url];
      counted.services++;
      const outcome = await probes.of(service.key);
      if (outcome === undefined) continue;
      counted.probed++;
      if (outcome.phase === "proxy") counted.failed.push(service.key);
    }
    const problems = Object.entries(proxies).flatMap(([url, { probed, failed }]) => {
      if (failed.length === 0) return [];
      const message = `${url} gave no tunnel to ${failed.length} of ${plural(probed, "upstream")}`;
      return [{ finding: failed.length === probed ? FINDINGS.failing : FINDINGS.some, message }];
    });
    const summary = `${plural(urls.size, "upstream")} ${urls.size === 1 ? "is" : "are"} reached through an egress proxy`;
    return conclude(problems, summary, { proxies });
  },
};
