/** Where the time of a slow answer goes. */
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDS = {
  slow: {
    status: "warn",
    symptom: "answers are slow, and some may end in 504 UPSTREAM_TIMEOUT",
    fix: "The time is the upstream's: evidence.recent is the mean of the last requests, evidence.phases that of one look. X-Proxy-Duration and the access log's upstreamUs tell it for each request; timeoutMs (NETWORK_TIMEOUT) is how long they may wait.",
  },
  loop: {
    status: "warn",
    symptom: "answers of every upstream are slow",
    fix: "The time is the gateway's: see the check pressure, and give the process more CPU.",
  },
} as const;

/** ms, or half of the service's own limit where that is less. */
const SLOW_MS = 2_000;
const LOOP_MS = 50;

export const latency: ServiceCheck = {
  id: "latency",
  needs: "configuration",
  looksAt: "how long each upstream in use takes, for the last requests and for one look",
  finds: FINDS,
  async run({ service, times }, { monitor, offline }, looks) {
    const look = await looks.of(service.key);
    const limit = Math.min(SLOW_MS, service.timeoutMs / 2);
    const problems: Problem[] = [];
    const { count, toHeadersMs, bodyMs } = times;
    const lookMs = Object.values(look?.phases ?? {}).reduce((sum: number, ms) => sum + (ms ?? 0), 0);
    if (count > 0 && toHeadersMs > limit) {
      problems.push({ find: FINDS.slow, words: `its answers take ${Math.round(toHeadersMs)} ms to begin` });
    } else if (look?.status === "reachable" && lookMs > limit) {
      problems.push({ find: FINDS.slow, words: `one look took ${Math.round(lookMs)} ms` });
    }
    const { eventLoopDelay } = monitor.sample;
    // Of the gateway, that is: at rest it would be that of who looks.
    if (offline === undefined && eventLoopDelay > LOOP_MS) {
      problems.push({
        find: FINDS.loop,
        words: `the gateway's event loop is late by ${Math.round(eventLoopDelay)} ms`,
      });
    }
    return conclude(
      problems,
      count === 0 ? "no requests yet" : `its answers take ${Math.round(toHeadersMs)} ms to begin`,
      {
        recent:
          count === 0 ? null : { toHeadersMs: Math.round(toHeadersMs), bodyMs: Math.round(bodyMs), requests: count },
        phases: look?.phases ?? null,
        timeoutMs: service.timeoutMs,
        eventLoopDelayMs: offline === undefined ? Math.round(eventLoopDelay) : null,
      },
    );
  },
};
