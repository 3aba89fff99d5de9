/**
 * `npm run bench`: measures the gateway and four relays on loopback in one run. Prints a Markdown page; a complete run also writes
 * bench/results/latest.md. Exit code 1 after a wrong response, never because of a slow one.
 */
import { execFileSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileBench } from "./compile.ts";
import { type Extras, measureExtras } from "./extras.ts";
import { API_KEY, assertEverythingIsOn, assertLogged, type RunningGateway, startGateway } from "./gateway.ts";
import { type Contestant, type Measured, measure } from "./measure.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { createProcesses, type Processes } from "./processes.ts";
import { report } from "./report.ts";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ITEM = "/items/42?x=1";

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const options = readOptions(args);
  if (!existsSync("/proc/self/stat"))
    throw new Error("the benchmark reads CPU and memory from /proc, so it needs Linux");
  const needsGateway = options.extras || options.only.includes("gateway");
  if (needsGateway && !existsSync(join(root, "dist", "main.js")))
    throw new Error("dist/main.js is missing; run npm run build first");
  const processes = createProcesses();
  try {
    const compiled = compileBench(root, processes.folder);
    const origin = await processes.startServer(join(compiled, "origin.js"));
    const measured = await runContest(processes, compiled, origin.port, options);
    const extras = options.extras ? await measureExtras(processes, root, origin.port) : undefined;
    publish(measured, extras, options, ["npm run bench", ...(args.length > 0 ? ["--", ...args] : [])].join(" "));
  } finally {
    await processes.close();
  }
}

async function runContest(
  processes: Processes,
  compiled: string,
  originPort: number,
  options: Options,
): Promise<Measured[]> {
  const bodyBytes = await originBodyBytes(originPort);
  const contestants: Contestant[] = [];
  let gateway: RunningGateway | undefined;
  for (const name of options.only) {
    if (name === "gateway") {
      gateway = await startGateway(processes, root, originPort);
      await assertEverythingIsOn(gateway);
      contestants.push({ name, server: gateway, path: `/proxy/origin${ITEM}` });
    } else {
      const file = join(compiled, "contestants", `${name}.js`);
      const server = await processes.startServer(file, `http://127.0.0.1:${originPort}`);
      contestants.push({ name, server, path: ITEM });
    }
  }
  const load = processes.start([join(compiled, "load.js")], { stdio: ["pipe", "inherit", "inherit", "ipc"] });
  const ticksPerSecond = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
  const measured = await measure(contestants, load, options, { ticksPerSecond, bodyBytes, apiKey: API_KEY });
  if (gateway !== undefined) await assertLogged(gateway, requestsOf(measured));
  return measured;
}

async function originBodyBytes(originPort: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${originPort}${ITEM}`);
  return (await response.arrayBuffer()).byteLength;
}

function requestsOf(measured: readonly Measured[]): number {
  const ours = measured.find(({ name }) => name === "gateway");
  return ours?.rounds.reduce((sum, round) => sum + round.requests, 0) ?? 0;
}

function publish(measured: readonly Measured[], extras: Extras | undefined, options: Options, command: string): void {
  const page = report({ measured, extras }, options, command);
  process.stdout.write(`\n${page}`);
  // A partial run must not replace the committed numbers; git ignores *.tmp.
  const file = join(root, "bench", "results", options.complete ? "latest.md" : "partial.md.tmp");
  writeFileSync(file, page);
}

main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 1;
});
