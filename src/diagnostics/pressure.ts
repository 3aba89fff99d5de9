/** Whether requests are refused for load, and by which gauge. */

import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDS = {
  shedding: {
    status: "fail",
    symptom: "503 UNDER_PRESSURE, Server under pressure",
    fix: "Give the process more room or less work, or raise the variable in evidence.pressure.setting.",
  },
  shed: {
    status: "warn",
    symptom: "503 UNDER_PRESSURE now and then",
    fix: "Watch /up and the gauges of /metrics; MAX_IN_FLIGHT, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_WEBSOCKETS, maxConcurrent, maxWebSockets and PRESSURE_* are the limits.",
  },
} as const;

export const pressure: Check = {
  id: "pressure",
  needs: "process",
  looksAt: "the gauges of the event loop and of memory, their thresholds, and what was shed since the start",
  finds: FINDS,
  async run({ monitor, refusals }) {
    const { pressure: now, sample, thresholds } = monitor;
    const shed = [...(await refusals()).values()].flat().filter(({ code }) => code === "UNDER_PRESSURE");
    const count = shed.reduce((sum, each) => sum + each.count, 0);
    const problems: Problem[] = [];
    if (now !== undefined) {
      problems.push({
        find: FINDS.shedding,
        words: `${now.gauge} is ${now.value}, beyond ${now.setting} (${now.limit})`,
      });
    } else if (count > 0)
      problems.push({ find: FINDS.shed, words: `${plural(count, "request")} shed since the start` });
    return conclude(problems, "no gauge is over its threshold", {
      gauges: sample,
      thresholds,
      pressure: now ?? null,
      shed: count,
    });
  },
};
