/** Checks whether responses are slow, and whether the upstream or the gateway causes it. */
import { conclude, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  slow: {
    status: "warn",
    symptom: "responses are slow, and some end in 504 UPSTREAM_TIMEOUT",
    fix: "The upstream is slow. evidence.recent has the mean of the last requests, evidence.phases the times of one probe. X-Proxy-Duration and upstreamUs in the access log show the time of each request. timeoutMs (NETWORK_TIMEOUT) sets how long a request may wait.",
  },
  loop: {
    status: "warn",
    symptom: "responses of every upstream are slow",
    fix: "The gateway is slow. See the check pressure, and give the process more CPU.",
  },
} as const;

/** Or half of the service's own timeout, if that is less. */
const SLOW_MS = 2_000;
const LOOP_MS = 50;

export const latency: ServiceCheck = {
  id: "latency",
  needs: "configuration",
  inspects: "how long each upstream in use takes, in the last requests and in one probe",
  findings: FINDINGS,
  async run({ service, times }, { monitor, offline }, probes) {
    const probe = await probes.of(service.key);
    const limit = Math.min(SLOW_MS, service.timeoutMs / 2);
    const problems: Problem[] = [];
    const { count, toHeadersMs, bodyMs } = times;
    const probeMs = Object.values(probe?.phases ?? {}).reduce((sum: number, ms) => sum + (ms ?? 0), 0);
    if (count > 0 && toHeadersMs > limit) {
      problems.push({ finding: FINDINGS.slow, message: describeTime(toHeadersMs) });
    } else if (probe?.status === "reachable" && probeMs > limit) {
      problems.push({ finding: FINDINGS.slow, message: `one probe took ${Math.round(probeMs)} ms` });
    }
    const { eventLoopDelay } = monitor.sample;
    // While no gateway runs, the sample is that of the command that runs the checks.
    if (offline === undefined && eventLoopDelay > LOOP_MS) {
      problems.push({
        finding: FINDINGS.loop,
        message: `the gateway's event loop is delayed by ${Math.round(eventLoopDelay)} ms`,
      });
    }
    return conclude(problems, count === 0 ? "no requests yet" : describeTime(toHeadersMs), {
      recent:
        count === 0 ? null : { toHeadersMs: Math.round(toHeadersMs), bodyMs: Math.round(bodyMs), requests: count },
      phases: probe?.phases ?? null,
      timeoutMs: service.timeoutMs,
      eventLoopDelayMs: offline === undefined ? Math.round(eventLoopDelay) : null,
    });
  },
};

const describeTime = (toHeadersMs: number) =>
  `the upstream takes ${Math.round(toHeadersMs)} ms until its response begins`;
