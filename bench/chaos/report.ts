/** Formats the table of results and what the gateway held. */
import type { Holdings } from "./gateway-process.ts";
import type { FaultResult } from "./run-fault.ts";
import type { Outcome, Tally } from "./tally.ts";

const MIB = 2 ** 20;
const COLUMNS = [
  "fault",
  "requests",
  "served",
  "refused, by code",
  "cut",
  "not accepted",
  "hung or wrong",
  "recovered",
  "neighbour: served",
  "neighbour: not served",
  "neighbour: p99",
] as const;
const WIDTHS = [20, 8, 6, 46, 4, 12, 13, 9, 17, 21, 14];

export function header(): string {
  return `${line([...COLUMNS])}\n|${WIDTHS.map((width) => "-".repeat(width + 2)).join("|")}|`;
}

export function row({ fault, affected, neighbour, recoveredMs }: FaultResult): string {
  return line([
    fault.name,
    String(affected.total),
    String(affected.count("served")),
    refusals(affected),
    String(affected.count("cut")),
    String(affected.count("not accepted")),
    String(affected.count("hung") + affected.count("wrong") + affected.count("dropped")),
    recoveredMs === undefined ? "no" : `${(recoveredMs / 1_000).toFixed(1)} s`,
    String(neighbour.count("served")),
    String(neighbour.total - neighbour.count("served")),
    `${neighbour.p99Ms.toFixed(0)} ms`,
  ]);
}

export function holdingsLine({ heapBytes, residentBytes, descriptors, sockets }: Holdings): string {
  const mib = (bytes: number) => `${(bytes / MIB).toFixed(1)} MiB`;
  return `heap ${mib(heapBytes)}, resident ${mib(residentBytes)}, ${descriptors} descriptors of which ${sockets} sockets`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.map((cell, column) => cell.padEnd(WIDTHS[column]!)).join(" | ")} |`;
}

/** Without the prefix, but with the code: a status alone would not show the reason. */
function refusals({ counts }: Tally): string {
  const named = [...counts].filter(([outcome]) => /^(refused|relayed|closed)/.test(outcome));
  return named.map(([outcome, count]) => `${count} ${short(outcome)}`).join(", ");
}

function short(outcome: Outcome): string {
  return outcome.replace("refused:", "").replace("relayed:", "upstream's own ");
}
