/** `npm run sim`: what upstreams refuse with the ledger off and in hold, over hours that take seconds. Exit code 1 where a goal is missed. */
import { fairShareOf, type Judged, judge, scenarios } from "./goal.ts";
import type { Tallied } from "./tally.ts";

const COLUMNS = [
  "scenario",
  "ledger",
  "refused upstream",
  "served",
  "of allowed",
  "wait p50",
  "wait p99",
  "heavy caller's share",
  "Jain",
  "stolen turns",
];

const judged: Judged[] = [];
for (const scenario of scenarios) judged.push(await judge(scenario));

const rows = judged.flatMap((each) => [rowOf(each, "off"), rowOf(each, "hold")]);
console.log(table([COLUMNS, ...rows]));
console.log(
  "\nThe share and Jain's index are of what was served while every caller waited for the same kind; `allowed` is what one serves who\n" +
    "knows all limits and the upstream's clock, without a network. Network: 20 to 120 ms each way. A turn is stolen when the heavy caller\n" +
    "has two while somebody who waits for the same all that time has none.\n",
);
for (const { scenario, missed } of judged) {
  console.log(
    `${missed.length === 0 ? "met   " : "MISSED"}  ${scenario.name}${missed.map((each) => `; ${each}`).join("")}`,
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
    String(tallied.stolenTurns),
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
