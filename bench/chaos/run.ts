/**
 * `npm run chaos`: faults under load, one after another, and what clients see of them. Exit code 1 after a hang, a cut body with a
 * clean end, a wrong body, an affected neighbour, a crash, or a leak of memory or descriptors. See docs/benchmarks.md.
 */
import { existsSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { type Chaos, runChaos } from "./chaos.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { header, holdingsLine, row } from "./report.ts";
import type { FaultResult } from "./run-fault.ts";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const WARM_UP_MS = 1_000;
const FAULT_MS = 2_500;

async function run(options: Options): Promise<void> {
  if (!existsSync("/proc/self/fd")) throw new Error("the chaos test counts descriptors in /proc, so it needs Linux");
  if (!existsSync(main)) throw new Error("dist/main.js is missing; run npm run build first");
  const print = (text: string) => {
    if (!options.json) console.log(text);
  };
  // Times measured during a stall of the machine say nothing about the gateway.
  const stalls = monitorEventLoopDelay();
  stalls.enable();
  print(header());
  const chaos = await runChaos({
    main,
    faults: options.faults,
    soakMs: options.soakMs,
    perSecond: options.perSecond,
    warmUpMs: WARM_UP_MS,
    faultMs: FAULT_MS,
    onResult: (result) => print(row(result)),
  });
  if (options.json) console.log(JSON.stringify(asJson(chaos)));
  else {
    const [first, ...rest] = chaos.holdings.map(holdingsLine);
    if (first !== undefined) print(`\nbefore: ${first}`);
    for (const line of rest.slice(0, -1)) print(`under load: ${line}`);
    if (first !== undefined) print(`after:  ${rest.at(-1)}`);
    print(`\nthe test process itself stalled for up to ${(stalls.max / 1e6).toFixed(0)} ms`);
    print(
      chaos.failures.length === 0
        ? "\nall goals met"
        : `\nGOALS MISSED\n${chaos.failures.map((each) => `- ${each}`).join("\n")}`,
    );
  }
  if (chaos.failures.length > 0) process.exitCode = 1;
}

function asJson({ results, holdings, failures }: Chaos): unknown {
  const rowOf = ({ fault, affected, neighbour, recoveredMs, failures: own }: FaultResult) => ({
    fault: fault.name,
    affected: Object.fromEntries(affected.counts),
    neighbour: Object.fromEntries(neighbour.counts),
    neighbourP99Ms: neighbour.p99Ms,
    recoveredMs: recoveredMs ?? null,
    failures: own,
  });
  return { faults: results.map(rowOf), holdings, failures };
}

try {
  await run(readOptions(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 1;
}
