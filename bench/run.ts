/**
 * `npm run bench`: measures the gateway and other relays on loopback in one run, workload by workload. Prints a Markdown page; a complete
 * run also writes bench/results/latest.md. Exit code 1 after a wrong byte, never because of a slow response.
 */
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileBench } from "./compile.ts";
import { runContest, type Stage } from "./contest.ts";
import { measureExtras } from "./extras.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { createProcesses, type Processes } from "./processes.ts";
import { type Results, report } from "./report.ts";
import { type Origin, startOrigin } from "./start-origin.ts";
import type { WorkloadResult } from "./workload-report.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const options = readOptions(args);
  assertRunnable(options);
  const processes = createProcesses();
  try {
    const compiled = compileBench(root, processes.folder);
    const origin = await startOrigin(processes, compiled, false);
    const stage = createStage(processes, compiled, origin);
    const workloads = await runWorkloads(stage, origin, options);
    const extras = options.extras ? await measureExtras(processes, root, origin) : undefined;
    const command = ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" ");
    publish({ workloads, extras }, options, command);
  } finally {
    await processes.close();
  }
}

/** @throws an Error with a message for the user. */
function assertRunnable({ extras, only, against }: Options): void {
  if (!existsSync("/proc/self/stat"))
    throw new Error("the benchmark reads CPU and memory from /proc, so it needs Linux");
  const measured = extras || only.includes("gateway") ? [root] : [];
  if (against !== undefined) measured.push(against);
  for (const folder of measured) {
    const file = join(folder, "dist", "main.js");
    if (!existsSync(file)) throw new Error(`${file} is missing; run npm run build in ${folder} first`);
  }
}

function createStage(processes: Processes, compiled: string, origin: Origin): Stage {
  const child = processes.start([join(compiled, "load.js")], { stdio: ["pipe", "inherit", "inherit", "ipc"] });
  const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  return { processes, root, compiled, load: { child, ticksPerSecond, originPort: origin.port } };
}

async function runWorkloads(stage: Stage, origin: Origin, options: Options): Promise<WorkloadResult[]> {
  const results: WorkloadResult[] = [];
  let secureOrigin: Origin | undefined;
  for (const workload of options.workloads) {
    if (workload.isSecure) secureOrigin ??= await startOrigin(stage.processes, stage.compiled, true);
    const measured = await runContest(stage, workload, workload.isSecure ? secureOrigin! : origin, options);
    if (measured.length > 0) results.push({ workload, measured });
  }
  return results;
}

function publish(results: Results, options: Options, command: string): void {
  const page = report(results, options, command);
  process.stdout.write(`\n${page}`);
  // A partial run must not replace the committed numbers; git ignores *.tmp.
  const file = join(root, "bench", "results", options.complete ? "latest.md" : "partial.md.tmp");
  writeFileSync(file, page);
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 1;
});
