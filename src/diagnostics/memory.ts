/** Whether the process is about to run out of memory. */
import { type Check, conclude, type Problem } from "./check.ts";

const FINDS = {
  heap: {
    status: "warn",
    symptom: "memory grows, and the process may end with an allocation failure",
    fix: "Raise the heap's limit with NODE_OPTIONS=--max-old-space-size=<MiB>, or set PRESSURE_MAX_HEAP_USED_BYTES so that requests are refused first.",
  },
  container: {
    status: "warn",
    symptom: "the container is killed for its memory",
    fix: "Raise the container's memory limit, or set PRESSURE_MAX_RSS_BYTES below it so that requests are refused first.",
  },
} as const;

/** Share of a limit from which on it is near. */
const NEAR = 0.85;

export const memory: Check = {
  id: "memory",
  needs: "process",
  looksAt: "the heap and the resident memory, with the limits that there are",
  finds: FINDS,
  run(context) {
    const { rss, heapUsed, heapLimit, limit } = context.memory();
    const problems: Problem[] = [];
    const percent = (share: number) => `${Math.round(share * 100)} %`;
    if (heapUsed > heapLimit * NEAR) {
      problems.push({ find: FINDS.heap, words: `the heap in use is ${percent(heapUsed / heapLimit)} of its limit` });
    }
    if (limit !== null && rss > limit * NEAR) {
      problems.push({
        find: FINDS.container,
        words: `resident memory is ${percent(rss / limit)} of the container's limit`,
      });
    }
    return conclude(problems, `the heap in use is ${percent(heapUsed / heapLimit)} of its limit`, {
      rssBytes: rss,
      heapUsedBytes: heapUsed,
      heapLimitBytes: heapLimit,
      containerLimitBytes: limit,
    });
  },
};
