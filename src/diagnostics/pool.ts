/** Checks whether a service has free request slots and connections. */
import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  full: {
    status: "warn",
    symptom: "503 UNDER_PRESSURE for this service, or requests that wait",
    fix: "Raise maxConcurrent of the service, or send fewer requests at the same time.",
  },
  waiting: {
    status: "warn",
    symptom:
      "503 UNDER_PRESSURE for this service with the gauge pending or upstreamConnections; responses with X-Proxy-Queue-Duration",
    fix: "Requests arrive faster than the upstream responds. Raise maxConnections if the upstream can serve more at the same time, or maxPending or timeoutMs if callers can wait. See the check latency.",
  },
  descriptors: {
    status: "fail",
    symptom: "connections are refused, and files cannot be opened",
    fix: "Raise the limit of open files (ulimit -n, LimitNOFILE=), or lower MAX_CONNECTIONS.",
  },
} as const;

/** Share of the limit above which file descriptors are scarce. */
const NEAR = 0.9;

export const pool: ServiceCheck = {
  id: "pool",
  needs: "process",
  inspects: "requests in flight, connections and file descriptors, compared with their limits",
  findings: FINDINGS,
  run({ service, slots, connections }, context) {
    const state = connections();
    const { taken, limit } = slots;
    const descriptors = context.descriptors();
    const problems: Problem[] = [];
    if (slots.isFull) {
      const message = `${service.key} has reached its limit of ${plural(limit, "concurrent request")}`;
      problems.push({ finding: FINDINGS.full, message });
    }
    if (state.pending > 0) {
      const busy = state.limit === 1 ? "the only connection" : `all ${state.limit} connections`;
      const waiting = `${plural(state.pending, "request")} ${state.pending === 1 ? "waits" : "wait"}`;
      const message = `${busy} to ${service.key} ${state.limit === 1 ? "is" : "are"} busy, and ${waiting} for one`;
      problems.push({ finding: FINDINGS.waiting, message });
    }
    if (descriptors !== null && descriptors.open > descriptors.limit * NEAR) {
      const message = `${descriptors.open} of ${descriptors.limit} file descriptors are in use`;
      problems.push({ finding: FINDINGS.descriptors, message });
    }
    return conclude(problems, `${plural(taken, "request")} in flight on ${plural(state.open, "connection")}`, {
      inFlight: { current: taken, limit: limit || null },
      connections: state,
      descriptors,
    });
  },
};
