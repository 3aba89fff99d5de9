/** `npm run sim`: what upstreams refuse without the quota and in hold mode. Simulated hours take seconds. Exit code 1 if a goal is missed. */
import { fairShareOf, type Judged, judge, scenarios } from "./goal.ts";
import type { Tallied } from "./tally.ts";

const COLUMNS = [
  "scenario",
  "quota mode",
  "refused by upstream",
  "served",
  "share of allowed",
  "wait p50",
  "wait p99",
  "heavy caller's share",
  "Jain's index",
  "unfair turns",
];

const judged: Judged[] = [];
for (const scenario of scenarios) judged.push(await judge(scenario));

const rows = judged.flatMap((each) => [rowOf(each, "off"), rowOf(each, "hold")]);
console.log(table([COLUMNS, ...rows]));
console.log(
  "\nshare of allowed: of the requests that a client would be served that knows all limits and the upstream's clock, without a network.\n" +
    "heavy caller's share, Jain's index: of the requests served while every caller waited for the same kind of request.\n" +
    "unfair turns: the heavy caller was served twice while another caller, waiting for the same kind all the time, was not served.\n" +
    "Network: 20 to 120 ms each way.\n",
);
for (const { scenario, missed } of judged) {
  console.log(
    `${missed.length === 0 ? "goals met   " : "GOALS MISSED"}  ${scenario.name}${missed.map((each) => `; ${each}`).join("")}`,
  );
}
if (judged.some(({ missed }) => missed.length > 0)) process.exitCode = 1;

function rowOf({ scenario, ideal, ...modes }: Judged, mode: "off" | "hold"): string[] {
  const tallied: Tallied = modes[mode];
  return [
    mode === "off" ? scenario.name : "",
    mode,
    String(tallied.refusals),
    String(tallied.served),
    percent(tallied.served / ideal.served),
    seconds(tallied.waitP50Ms),
    seconds(tallied.waitP99Ms),
    `${percent(tallied.heavyShare)} (fair ${percent(fairShareOf(scenario))})`,
    tallied.jain.toFixed(3),
    String(tallied.unfairTurns),
  ];
}

function table(rows: readonly (readonly string[])[]): string {
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) => `| ${row.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`);
  lines.splice(1, 0, `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`);
  return lines.join("\n");
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
