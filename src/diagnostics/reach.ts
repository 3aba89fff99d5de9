/** Whether an upstream answers, and if not, in which phase it ends. */
import { conclude, type ServiceCheck } from "./check.ts";

const FINDS = {
  unreachable: {
    status: "fail",
    symptom: "502 UPSTREAM_UNREACHABLE, UPSTREAM_TLS_ERROR or UPSTREAM_PROTOCOL_ERROR; 403 EGRESS_NOT_ALLOWED",
    fix: "evidence.phase tells how far it got. dns: the name in baseUrl, and this machine's resolver. connect: host and port, a firewall, whether it runs. tls: see the check tls. http: whether it speaks HTTP/1.1 on that port.",
  },
  timeout: {
    status: "fail",
    symptom: "504 UPSTREAM_TIMEOUT",
    fix: "The upstream is too slow, or a firewall drops what is sent. connectTimeoutMs (NETWORK_CONNECT_TIMEOUT) and timeoutMs (NETWORK_TIMEOUT) are how long requests wait.",
  },
  failing: {
    status: "warn",
    symptom: "the upstream answers with 5xx",
    fix: "Ask whoever runs the upstream; the gateway relays its answers as they are.",
  },
  open: {
    status: "warn",
    symptom: "503 CIRCUIT_OPEN",
    fix: "Too many attempts failed, so that requests are refused until the upstream answers again: evidence.breaker counts them, and byteproxy_failures_total and the access log tell how they failed. Where that was too soon, breaker of the service says how many it takes.",
  },
  late: {
    status: "warn",
    symptom: "it is not known whether the upstream answers",
    fix: "POST /manage/services/<service>/test looks at it alone.",
  },
} as const;

export const reach: ServiceCheck = {
  id: "reach",
  needs: "configuration",
  looksAt: "each upstream in use, with one GET of its base",
  finds: FINDS,
  async run({ service, breaker }, _, looks) {
    const look = await looks.of(service.key);
    const state = breaker?.describe();
    const isRefusing = state !== undefined && state.state !== "closed";
    const open = isRefusing ? [{ find: FINDS.open, words: `its breaker is ${state.state}` }] : [];
    const counted = isRefusing ? { breaker: state } : {};
    if (look === undefined) {
      const late = { find: FINDS.late, words: "there was no time to look" };
      return conclude([late, ...open], "", { baseUrl: service.baseUrl, ...counted });
    }
    const { baseUrl, responseStatus, duration, phases, phase, code, error } = look;
    const evidence = {
      baseUrl,
      responseStatus,
      duration,
      phases,
      ...(code === undefined ? {} : { phase, code }),
      ...counted,
    };
    if (look.status === "unreachable") {
      const find = code === "UPSTREAM_TIMEOUT" ? FINDS.timeout : FINDS.unreachable;
      return conclude([{ find, words: `${error} Phase: ${phase}.` }, ...open], "", evidence);
    }
    const failing = { find: FINDS.failing, words: `it answers with ${responseStatus}` };
    return conclude(
      [...((responseStatus ?? 0) >= 500 ? [failing] : []), ...open],
      `it answered with ${responseStatus} in ${duration}`,
      evidence,
    );
  },
};
