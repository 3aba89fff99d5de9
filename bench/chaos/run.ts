/**
 * `npm run chaos`: faults under load, one after another, and what clients met. Exit code 1 where anything but what SPEC 5 allows
 * was met: a hang, a clean end of what was cut, a wrong body, a hurt neighbour, a crash, memory or descriptors that stay.
 */
import { existsSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { type Chaos, runChaos } from "./chaos.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { header, holdingsLine, row } from "./report.ts";
import type { Struck } from "./strike.ts";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));
const WARM_UP_MS = 1_000;
const FAULT_MS = 2_500;

async function run(options: Options): Promise<void> {
  if (!existsSync("/proc/self/fd")) throw new Error("the chaos counts descriptors in /proc: it needs Linux");
  if (!existsSync(main)) throw new Error("no dist/main.js: npm run build first");
  const print = (text: string) => {
    if (!options.json) console.log(text);
  };
  // A number from a machine that stood still is the machine's.
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
    onStruck: (struck) => print(row(struck)),
  });
  if (options.json) console.log(JSON.stringify(asJson(chaos)));
  else {
    const [first, ...rest] = chaos.holdings.map(holdingsLine);
    if (first !== undefined) print(`\nbefore: ${first}`);
    for (const line of rest.slice(0, -1)) print(`under load: ${line}`);
    if (first !== undefined) print(`after:  ${rest.at(-1)}`);
    print(`\nthe bench itself stood still for up to ${(stalls.max / 1e6).toFixed(0)} ms`);
    print(chaos.failures.length === 0 ? "\nmet" : `\nMISSED\n${chaos.failures.map((each) => `- ${each}`).join("\n")}`);
  }
  if (chaos.failures.length > 0) process.exitCode = 1;
}

function asJson({ struck, holdings, failures }: Chaos): unknown {
  const rowOf = ({ fault, hurt, neighbour, recoveredMs, failures: own }: Struck) => ({
    fault: fault.name,
    hurt: Object.fromEntries(hurt.counts),
    neighbour: Object.fromEntries(neighbour.counts),
    neighbourP99Ms: neighbour.p99Ms,
    recoveredMs: recoveredMs ?? null,
    failures: own,
  });
  return { faults: struck.map(rowOf), holdings, failures };
}

try {
  await run(readOptions(process.argv.slice(2)));
} catch (error) {
  process.stderr.write(`chaos: ${error instanceof Error ? error.message : String(error)}\n${USAGE}\n`);
  process.exitCode = 1;
}
