/** One line per workload, for the page of results and for docs/benchmarks.md. */
import { markdownTable, spreadText } from "./markdown-table.ts";
import { spreadOf } from "./statistics.ts";
import { ratio, type WorkloadResult } from "./workload-report.ts";
import type { ContestantName } from "./workloads/workload.ts";

const COLUMNS: readonly ContestantName[] = ["undici", "http-proxy-3", "nginx", "plain"];

/** Ratios in bold miss their goal. Empty if the gateway was not measured. */
export function summary(results: readonly WorkloadResult[]): string {
  const rows = results.flatMap(({ workload, measured }) => {
    const find = (name: ContestantName) => measured.find((one) => one.name === name);
    const ours = find("gateway");
    if (ours === undefined) return [];
    const ratios = COLUMNS.map((name) => {
      const other = find(name);
      if (other === undefined) return "";
      const value = ratio(ours, other).median;
      const goal = workload.goals.find(({ than }) => than === name);
      if (goal === undefined) return value.toFixed(2);
      const text = value > goal.atMost ? `**${value.toFixed(2)}**` : value.toFixed(2);
      return `${text} (${goal.isStretch ? "stretch goal" : "goal"} ${goal.atMost})`;
    });
    const cpu = spreadOf(ours.rounds.map(({ cpuMicrosPerUnit }) => cpuMicrosPerUnit));
    return [[workload.title, `${spreadText(cpu, 1)} per ${workload.unit}`, ...ratios]];
  });
  if (rows.length === 0) return "";
  return markdownTable(
    ["", "CPU µs of ByteProxy", "÷ undici relay", "÷ http-proxy-3", "÷ nginx", "÷ without the option"],
    rows,
  );
}
