/** Checks whether the process is close to running out of memory. */
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  heap: {
    status: "warn",
    symptom: "memory use grows, and the process may exit with an allocation failure",
    fix: "Raise the heap limit with NODE_OPTIONS=--max-old-space-size=<MiB>, or set PRESSURE_MAX_HEAP_USED_BYTES so that the gateway refuses requests first.",
  },
  container: {
    status: "warn",
    symptom: "the container is killed because it uses too much memory",
    fix: "Raise the container's memory limit, or set PRESSURE_MAX_RSS_BYTES below it so that the gateway refuses requests first.",
  },
} as const;

/** Share of a limit above which memory is scarce. */
const NEAR = 0.85;

export const memory: Check = {
  id: "memory",
  needs: "process",
  inspects: "heap use and resident memory, compared with their limits",
  findings: FINDINGS,
  run(context) {
    const { rss, heapUsed, heapLimit, limit } = context.memory();
    const problems: Problem[] = [];
    const percent = (share: number) => `${Math.round(share * 100)} %`;
    const heapSummary = `heap use is at ${percent(heapUsed / heapLimit)} of its limit`;
    if (heapUsed > heapLimit * NEAR) problems.push({ finding: FINDINGS.heap, message: heapSummary });
    if (limit !== null && rss > limit * NEAR) {
      problems.push({
        finding: FINDINGS.container,
        message: `resident memory is at ${percent(rss / limit)} of the container's limit`,
      });
    }
    return conclude(problems, heapSummary, {
      rssBytes: rss,
      heapUsedBytes: heapUsed,
      heapLimitBytes: heapLimit,
      containerLimitBytes: limit,
    });
  },
};
