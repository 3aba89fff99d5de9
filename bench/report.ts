/** The results as a Markdown page: the machine, a table and the goals of each workload, the extras. */
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, release } from "node:os";
import type { Extras } from "./extras.ts";
import { extrasReport } from "./extras-report.ts";
import { CONNECTIONS } from "./measure.ts";
import { isNginxInstalled } from "./nginx.ts";
import type { Options } from "./options.ts";
import { summary } from "./summary.ts";
import { type WorkloadResult, workloadReport } from "./workload-report.ts";

export interface Results {
  readonly workloads: readonly WorkloadResult[];
  readonly extras: Extras | undefined;
}

/** The complete page, with a line feed at the end. */
export function report({ workloads, extras }: Results, options: Options, command: string): string {
  const parts = ["# Benchmark", machine(options, command)];
  if (options.only.includes("nginx") && !isNginxInstalled())
    parts.push("nginx was left out because it is not installed (Debian package `nginx`).");
  parts.push(summary(workloads), ...workloads.map((result) => workloadReport(result, options)));
  if (extras !== undefined) parts.push(extrasReport(extras));
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

/** What docs/benchmarks.md shows of a complete run. */
export function excerpt({ workloads, extras }: Results, options: Options, command: string): string {
  const parts = [machine(options, command), summary(workloads)];
  if (extras !== undefined) parts.push(extrasReport(extras));
  return parts.join("\n\n");
}

function machine(options: Options, command: string): string {
  const cpu = cpus()[0]?.model ?? "unknown CPU";
  return [
    `${new Date().toISOString().slice(0, 10)} · commit ${commit()} · Node ${process.version} · Linux ${release()} · ${cpu}, ${availableParallelism()} cores · \`${command}\``,
    "",
    `Median of ${options.rounds} interleaved ${options.rounds === 1 ? "round" : "rounds"} of ${options.seconds} s, with minimum and maximum. The origin, the load`,
    `and the measured process share the cores; ${CONNECTIONS} connections, closed loop, so that the latencies are those of a`,
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
