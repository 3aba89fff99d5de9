/** Checks whether the gateway refuses requests because of load, and which gauge is over its threshold. */
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  shedding: {
    status: "fail",
    symptom: "503 UNDER_PRESSURE, Server under pressure",
    fix: "Give the process more CPU or memory, send fewer requests, or raise the variable in evidence.pressure.setting.",
  },
  shed: {
    status: "warn",
    symptom: "occasional 503 UNDER_PRESSURE",
    fix: "Watch /up and the gauges in /metrics. The limits are MAX_IN_FLIGHT, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_WEBSOCKETS, maxConcurrent, maxWebSockets and PRESSURE_*.",
  },
} as const;

export const pressure: Check = {
  id: "pressure",
  needs: "process",
  inspects: "the gauges of the event loop and of memory, their thresholds, and the requests refused since the start",
  findings: FINDINGS,
  async run({ monitor, refusals }) {
    const { pressure: now, sample, thresholds } = monitor;
    const shed = [...(await refusals()).values()].flat().filter(({ code }) => code === "UNDER_PRESSURE");
    const count = shed.reduce((sum, each) => sum + each.count, 0);
    const problems: Problem[] = [];
    if (now !== undefined) {
      problems.push({
        finding: FINDINGS.shedding,
        message: `${now.gauge} is ${now.value}, above ${now.setting} (${now.limit})`,
      });
    } else if (count > 0) {
      problems.push({ finding: FINDINGS.shed, message: `${plural(count, "request")} refused since the start` });
    }
    return conclude(problems, "no gauge is above its threshold", {
      gauges: sample,
      thresholds,
      pressure: now ?? null,
      shed: count,
    });
  },
};
