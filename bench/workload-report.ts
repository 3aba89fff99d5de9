/** The table and the goals of one workload as Markdown. */
import type { LoadResult } from "./load.ts";
import { markdownTable, spreadText, verdict } from "./markdown-table.ts";
import type { Measured } from "./measure.ts";
import type { Options } from "./options.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import type { ContestantName, Workload } from "./workloads/workload.ts";

const MIB = 2 ** 20;
const TITLES: Record<Exclude<ContestantName, "against" | "plain">, string> = {
  gateway: "ByteProxy, all features on",
  undici: "undici relay",
  "http-proxy-3": "http-proxy-3, keep-alive agent",
  "fastify-http-proxy": "@fastify/http-proxy",
  "http-proxy-middleware": "http-proxy-middleware, keep-alive agent",
  nginx: "nginx, one process",
};

export interface WorkloadResult {
  readonly workload: Workload;
  readonly measured: readonly Measured[];
}

export function workloadReport({ workload, measured }: WorkloadResult, options: Options): string {
  const ours = measured.find(({ name }) => name === "gateway");
  const title = (name: ContestantName) => {
    if (name === "against") return `gateway of ${options.against}`;
    return name === "plain" ? `ByteProxy without ${workload.option}` : TITLES[name];
  };
  const header = [
    ...["", `CPU µs per ${workload.unit}`, "ByteProxy ÷ it", `${workload.unit}s/s`],
    ...["p50 ms", "p99 ms", "peak MiB"],
  ];
  const rows = measured.map((one) => [
    title(one.name),
    spread(one, (round) => round.cpuMicrosPerUnit, 1),
    ours === undefined || ours === one ? "" : spreadText(ratio(ours, one), 2),
    spread(one, (round) => round.unitsPerSecond, 0),
    spread(one, (round) => round.p50Ms, 2),
    spread(one, (round) => round.p99Ms, 2),
    (one.peakBytes / MIB).toFixed(0),
  ]);
  const goals = workload.goals.flatMap(({ than, atMost, isStretch = false }) => {
    const other = measured.find(({ name }) => name === than);
    if (ours === undefined || other === undefined) return [];
    const { median } = ratio(ours, other);
    const goal = `${isStretch ? "stretch goal" : "goal"} at most ${atMost}`;
    return `- CPU of ByteProxy ÷ ${title(than)}: **${median.toFixed(2)}**, ${goal}: ${verdict(median <= atMost)}`;
  });
  const parts = [`## ${workload.title}`, markdownTable(header, rows), goals.join("\n")];
  return parts.filter((part) => part !== "").join("\n\n");
}

function spread(one: Measured, value: (round: LoadResult) => number, digits: number): string {
  return spreadText(spreadOf(one.rounds.map(value)), digits);
}

/** CPU of one divided by CPU of the other, round by round: the effect of a slow round cancels out. */
export function ratio(one: Measured, other: Measured): Spread {
  return spreadOf(one.rounds.map((round, i) => round.cpuMicrosPerUnit / other.rounds[i]!.cpuMicrosPerUnit));
}
