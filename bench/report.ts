/** The results as Markdown: the machine, the tables and the goals. */
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, release } from "node:os";
import { BIG_BODY_BYTES, type BigBody } from "./big-bodies.ts";
import type { Extras } from "./extras.ts";
import type { LoadResult } from "./load.ts";
import type { Measured } from "./measure.ts";
import type { ContestantName, Options } from "./options.ts";
import { type Spread, spreadOf } from "./statistics.ts";

const MIB = 2 ** 20;
/** CPU per request of ByteProxy divided by that of the contestant: at most this. */
const GOALS: Partial<Record<ContestantName, number>> = { undici: 1.35, "http-proxy-3": 0.8 };
const GROWTH_GOAL_BYTES = 64 * MIB;
const TITLES: Record<ContestantName, string> = {
  gateway: "ByteProxy, all features on",
  undici: "undici relay",
  "http-proxy-3": "http-proxy-3, keep-alive agent",
  "fastify-http-proxy": "@fastify/http-proxy",
  "http-proxy-middleware": "http-proxy-middleware, keep-alive agent",
};

export interface Results {
  readonly measured: readonly Measured[];
  readonly extras: Extras | undefined;
}

/** The complete page, with a line feed at the end. */
export function report({ measured, extras }: Results, options: Options, command: string): string {
  const parts = [machine(options, command), table(measured), goals(measured)];
  if (extras !== undefined) parts.push(extrasTable(extras));
  return `${["# Benchmark", ...parts].filter((part) => part !== "").join("\n\n")}\n`;
}

function machine(options: Options, command: string): string {
  const cpu = cpus()[0]?.model ?? "unknown CPU";
  return [
    `${new Date().toISOString().slice(0, 10)} · commit ${commit()} · Node ${process.version} · Linux ${release()} · ${cpu}, ${availableParallelism()} cores · \`${command}\``,
    "",
    `Median of ${options.rounds} interleaved rounds of ${options.seconds} s, with minimum and maximum. The origin, the load`,
    "and the measured process share the cores; 32 keep-alive connections, closed loop, so that the latencies are those of a",
    "saturated machine. CPU is the operating system's account of the measured process (user and system, all threads).",
  ].join("\n");
}

function commit(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync("git", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    const changed = git("status", "--porcelain", "--", "src", "bench", ":!bench/results").trim() !== "";
    return git("rev-parse", "--short", "HEAD").trim() + (changed ? " with changes" : "");
  } catch {
    return "none";
  }
}

function table(measured: readonly Measured[]): string {
  const find = (name: ContestantName) => measured.find((one) => one.name === name);
  const [ours, floor] = [find("gateway"), find("undici")];
  const rows = measured.map((one) => [
    TITLES[one.name],
    spread(one, (round) => round.cpuMicrosPerRequest, 1),
    ratioText(ours, one),
    ratioText(one, floor),
    spread(one, (round) => round.requestsPerSecond, 0),
    spread(one, (round) => round.p50Ms, 2),
    spread(one, (round) => round.p99Ms, 2),
    (one.peakBytes / MIB).toFixed(0),
  ]);
  const header = [
    "",
    "CPU µs per request",
    "ByteProxy ÷ it",
    "it ÷ undici relay",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "peak MiB",
  ];
  return markdown(header, rows);
}

function spread(one: Measured, value: (round: LoadResult) => number, digits: number): string {
  return spreadText(spreadOf(one.rounds.map(value)), digits);
}

function spreadText({ median, min, max }: Spread, digits: number): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

/** CPU of one divided by CPU of the other, round by round: the effect of a slow round cancels out. */
function ratio(one: Measured, other: Measured): Spread {
  return spreadOf(one.rounds.map((round, i) => round.cpuMicrosPerRequest / other.rounds[i]!.cpuMicrosPerRequest));
}

function ratioText(one: Measured | undefined, other: Measured | undefined): string {
  if (one === undefined || other === undefined || one === other) return "";
  return spreadText(ratio(one, other), 2);
}

function goals(measured: readonly Measured[]): string {
  const ours = measured.find(({ name }) => name === "gateway");
  if (ours === undefined) return "";
  const lines = measured.flatMap((other) => {
    const goal = GOALS[other.name];
    if (goal === undefined) return [];
    const { median } = ratio(ours, other);
    return `- CPU of ByteProxy ÷ ${TITLES[other.name]}: **${median.toFixed(2)}**, goal at most ${goal}: ${verdict(median <= goal)}`;
  });
  return lines.join("\n");
}

function verdict(met: boolean): string {
  return met ? "met" : "**missed**";
}

function extrasTable({ upload, download, silent, startUpMs }: Extras): string {
  const bigBody = (title: string, { bytesPerSecond, growthBytes }: BigBody) => [
    `${BIG_BODY_BYTES / 2 ** 30} GiB ${title}`,
    `${(bytesPerSecond / MIB).toFixed(0)} MiB/s, ${(growthBytes / MIB).toFixed(0)} MiB above idle`,
    `under ${GROWTH_GOAL_BYTES / MIB} MiB: ${verdict(growthBytes < GROWTH_GOAL_BYTES)}`,
  ];
  const rows = [
    bigBody("upload", upload),
    bigBody("download", download),
    ...silent.map(({ kind, bytesEach, growthBytes, heldMs }) => [
      `${kind.count} ${kind.name}`,
      `${(bytesEach / 1024).toFixed(0)} KiB each, all open after ${heldMs / 1000} s, ${(growthBytes / MIB).toFixed(1)} MiB growth meanwhile`,
      "",
    ]),
    ["start-up to /health", `${spreadText(startUpMs, 0)} ms`, ""],
  ];
  return markdown(["ByteProxy alone", "", "goal"], rows);
}

function markdown(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}
