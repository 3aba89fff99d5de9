/** Checks whether an upstream responds, and if not, in which phase the probe failed. */
import type { ProbeOutcome } from "../data-plane/forward/probe.ts";
import { maskBaseUrl } from "../telemetry/redact.ts";
import { conclude, type Finding, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  dns: {
    status: "fail",
    symptom: "502 UPSTREAM_UNREACHABLE (dns)",
    fix: "Check the host name in baseUrl and this machine's resolver.",
  },
  connect: {
    status: "fail",
    symptom: "502 UPSTREAM_UNREACHABLE (connect)",
    fix: "Check host and port in baseUrl and the firewalls, and that the upstream runs.",
  },
  proxy: {
    status: "fail",
    symptom: "502 UPSTREAM_UNREACHABLE or 504 UPSTREAM_TIMEOUT (proxy)",
    fix: 'Check EGRESS_PROXY, or egressProxy of the service: its address, its credential, and that it allows CONNECT to the upstream\'s host and port. NO_PROXY, or "egressProxy": false, connects directly. See docs/egress-proxy.md.',
  },
  tls: {
    status: "fail",
    symptom: "502 UPSTREAM_TLS_ERROR",
    fix: "The check tls shows the certificate. If the port speaks plain HTTP, baseUrl must begin with http://.",
  },
  http: {
    status: "fail",
    symptom: "502 UPSTREAM_UNREACHABLE or UPSTREAM_PROTOCOL_ERROR (http)",
    fix: "Check that the upstream speaks HTTP/1.1 on that port, or HTTP/2 if the service has http2. If it is an https port, baseUrl must begin with https://.",
  },
  egress: {
    status: "fail",
    symptom: "403 EGRESS_NOT_ALLOWED",
    fix: "The gateway does not connect to this address. For a service added over REST, EGRESS_ALLOW_PRIVATE=true allows private addresses; metadata servers and the gateway's own listeners are never allowed.",
  },
  timeout: {
    status: "fail",
    symptom: "504 UPSTREAM_TIMEOUT",
    fix: "The upstream is too slow, or a firewall drops the packets. connectTimeoutMs (NETWORK_CONNECT_TIMEOUT) and timeoutMs (NETWORK_TIMEOUT) set how long requests wait.",
  },
  failing: {
    status: "warn",
    symptom: "5xx responses from the upstream",
    fix: "Ask the operator of the upstream. The gateway relays its responses unchanged.",
  },
  open: {
    status: "warn",
    symptom: "503 CIRCUIT_OPEN",
    fix: "Too many attempts failed, so the gateway refuses requests until the upstream responds again. evidence.breaker counts the failures; byteproxy_failures_total and the access log show their causes. If the breaker opened too early, change breaker of the service.",
  },
  late: {
    status: "warn",
    symptom: "the check did not find out whether the upstream responds",
    fix: "POST /manage/services/<service>/test probes this upstream alone.",
  },
} as const;

export const reach: ServiceCheck = {
  id: "reach",
  needs: "configuration",
  inspects: "each upstream in use, with one GET of its base URL",
  findings: FINDINGS,
  async run({ service, breaker }, _, probes) {
    const outcome = await probes.of(service.key);
    const state = breaker?.describe();
    const isRefusing = state !== undefined && state.state !== "closed";
    const open = isRefusing ? [{ finding: FINDINGS.open, message: `the breaker is ${state.state}` }] : [];
    const counted = isRefusing ? { breaker: state } : {};
    if (outcome === undefined) {
      const late = { finding: FINDINGS.late, message: "there was no time for a probe" };
      return conclude([late, ...open], "", { baseUrl: maskBaseUrl(service.baseUrl), ...counted });
    }
    const { baseUrl, responseStatus, duration, phases, phase, code, error } = outcome;
    if (code === "UPSTREAM_CREDENTIAL_UNAVAILABLE") {
      return conclude(open, `not probed: ${service.key} has no credential`, { baseUrl, code, ...counted });
    }
    const evidence = {
      baseUrl,
      responseStatus,
      duration,
      phases,
      ...(code === undefined ? {} : { phase, code }),
      ...counted,
    };
    if (outcome.status === "unreachable") {
      return conclude([{ finding: findingOf(outcome), message: `${error} Phase: ${phase}.` }, ...open], "", evidence);
    }
    const failing = { finding: FINDINGS.failing, message: `the upstream responds with ${responseStatus}` };
    return conclude(
      [...((responseStatus ?? 0) >= 500 ? [failing] : []), ...open],
      `the upstream responded with ${responseStatus} in ${duration}`,
      evidence,
    );
  },
};

function findingOf({ code, phase = "http" }: ProbeOutcome): Finding {
  if (phase === "proxy") return FINDINGS.proxy;
  if (code === "UPSTREAM_TIMEOUT") return FINDINGS.timeout;
  return code === "EGRESS_NOT_ALLOWED" ? FINDINGS.egress : FINDINGS[phase];
}
