/** The rows of the table, and what the gateway held. */
import type { Holdings } from "./gateway-process.ts";
import type { Struck } from "./strike.ts";
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
  "hurt",
  "p99",
] as const;
const WIDTHS = [20, 8, 6, 46, 4, 12, 13, 9, 17, 4, 7];

export function header(): string {
  return `${line([...COLUMNS])}\n|${WIDTHS.map((width) => "-".repeat(width + 2)).join("|")}|`;
}

export function row({ fault, hurt, neighbour, recoveredMs }: Struck): string {
  return line([
    fault.name,
    String(hurt.total),
    String(hurt.count("served")),
    refusals(hurt),
    String(hurt.count("cut")),
    String(hurt.count("not accepted")),
    String(hurt.count("hung") + hurt.count("wrong") + hurt.count("dropped")),
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

/** Without the prefix: `502 × 3` would not say which. */
function refusals({ counts }: Tally): string {
  const named = [...counts].filter(([outcome]) => /^(refused|relayed|told)/.test(outcome));
  return named.map(([outcome, count]) => `${count} ${short(outcome)}`).join(", ");
}

function short(outcome: Outcome): string {
  return outcome.replace("refused:", "").replace("relayed:", "upstream's own ");
}
