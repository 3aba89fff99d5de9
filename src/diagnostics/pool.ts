/** Whether there are places and connections left for a service. */

import { plural } from "../plural.ts";
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDS = {
  full: {
    status: "warn",
    symptom: "503 UNDER_PRESSURE for this service, or requests that wait",
    fix: "Raise maxConcurrent of the service, or ask it for less at the same time.",
  },
  waiting: {
    status: "warn",
    symptom:
      "503 UNDER_PRESSURE for this service with the gauge pending or upstreamConnections, X-Proxy-Queue-Duration on answers",
    fix: "The upstream answers more slowly than it is asked. Raise maxConnections if it can bear more at the same time, maxPending or timeoutMs if callers can wait; see the check latency.",
  },
  descriptors: {
    status: "fail",
    symptom: "connections are refused, files cannot be opened",
    fix: "Raise the limit of open files (ulimit -n, LimitNOFILE=), or lower MAX_CONNECTIONS.",
  },
} as const;

const NEAR = 0.9;

export const pool: ServiceCheck = {
  id: "pool",
  needs: "process",
  looksAt: "the requests in flight, the connections and the file descriptors, against their limits",
  finds: FINDS,
  run({ service, slots, connections }, context) {
    const state = connections();
    const { taken, limit } = slots;
    const descriptors = context.descriptors();
    const problems: Problem[] = [];
    if (slots.isFull) problems.push({ find: FINDS.full, words: `all ${limit} places of ${service.key} are taken` });
    if (state.pending > 0) {
      const words = `all ${state.limit} connections to ${service.key} are busy, with ${plural(state.pending, "request")} waiting for one`;
      problems.push({ find: FINDS.waiting, words });
    }
    if (descriptors !== null && descriptors.open > descriptors.limit * NEAR) {
      const words = `${descriptors.open} of ${descriptors.limit} file descriptors are in use`;
      problems.push({ find: FINDS.descriptors, words });
    }
    return conclude(problems, `${plural(taken, "request")} in flight on ${plural(state.open, "connection")}`, {
      inFlight: { current: taken, limit: limit || null },
      connections: state,
      descriptors,
    });
  },
};
