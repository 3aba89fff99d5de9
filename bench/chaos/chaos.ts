/**
 * Runs one fault after another under steady load, and compares what the gateway holds before and after.
 * Invariant: every wrong response, unexpected log line and leaked resource is reported as a failure.
 */
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { compileBench } from "../compile.ts";
import { createProcesses, type Processes } from "../processes.ts";
import type { Fault } from "./fault.ts";
import { gatewayFaults } from "./gateway-faults.ts";
import type { GatewayProcess, Holdings } from "./gateway-process.ts";
import { type FaultResult, runFault } from "./run-fault.ts";
import { Stage, type StageSetup } from "./stage.ts";
import { upstreamFaults } from "./upstream-faults.ts";

export const faults: readonly Fault[] = [...upstreamFaults, ...gatewayFaults];

export interface ChaosOptions extends Omit<StageSetup, "compiled"> {
  readonly faults: readonly Fault[];
  /** Load before the first measurement of what the gateway holds. */
  readonly warmUpMs: number;
  /** Duration of each fault. */
  readonly faultMs: number;
  /** How long the faults are repeated, one after another; 0: once. */
  readonly soakMs: number;
  readonly onResult?: (result: FaultResult) => void;
}

export interface Chaos {
  readonly results: readonly FaultResult[];
  /** What the gateway held at rest before the first fault, under load after each round, and at rest after the last one. */
  readonly holdings: readonly Holdings[];
  readonly failures: readonly string[];
}

const root = fileURLToPath(new URL("../..", import.meta.url));
/** Load before the first fault, so that it affects open connections. */
const SETTLED_MS = 300;
const MIB = 2 ** 20;
/** Room for code compiled meanwhile, metrics of every outcome, and pools that grew once. */
const HEAP_GROWTH_LIMIT = 12 * MIB;
/** Errors that the gateway may log: a fault prevents it from writing or opening files. */
const EXPECTED_ERROR = /could not be|EMFILE|ENOTDIR/;

export async function runChaos(options: ChaosOptions): Promise<Chaos> {
  const processes = createProcesses();
  try {
    const compiled = compileBench(root, processes.folder, ["chaos/upstream", "chaos/switches"]);
    const setup = { ...options, compiled };
    const shared = options.faults.filter(({ affectsGateway }) => affectsGateway === undefined);
    const parts = shared.length === 0 ? [] : [await runOnStage(processes, setup, shared)];
    for (const fault of options.faults) {
      if (fault.affectsGateway === undefined) continue;
      parts.push(await runOnStage(processes, { ...setup, soakMs: 0 }, [fault]));
    }
    return {
      results: parts.flatMap(({ results }) => results),
      holdings: parts[0]?.holdings ?? [],
      failures: parts.flatMap(({ failures }) => failures),
    };
  } finally {
    await processes.close();
  }
}

/** Runs these faults on one gateway, from its start to its end. */
async function runOnStage(
  processes: Processes,
  setup: ChaosOptions & StageSetup,
  faultsHere: readonly Fault[],
): Promise<Chaos> {
  const stage = await Stage.open(processes, setup, faultsHere[0]?.affectsGateway?.openFiles);
  const results: FaultResult[] = [];
  const holdings: Holdings[] = [];
  const failures: string[] = [];
  try {
    await warmUp(stage, setup.warmUpMs);
    holdings.push(await stage.holdingsAtRest());
    stage.startLoad();
    await delay(SETTLED_MS);
    const until = performance.now() + setup.soakMs;
    do {
      for (const fault of faultsHere) {
        const one = await runFault(stage, fault, setup.faultMs);
        results.push(one);
        setup.onResult?.(one);
        stage.gateway.assertAlive();
      }
      if (setup.soakMs > 0) holdings.push(await stage.gateway.holdings());
    } while (performance.now() < until);
    await stage.stopLoad();
    holdings.push(await stage.holdingsAtRest());
    failures.push(...growth(holdings));
    await stage.close();
  } catch (error) {
    failures.push(String(error));
    await stage.stopLoad();
  }
  failures.unshift(...results.flatMap(({ fault, failures: own }) => own.map((each) => `${fault.name}: ${each}`)));
  failures.push(...unexpectedOutput(stage.gateway));
  return { results, holdings, failures };
}

async function warmUp(stage: Stage, warmUpMs: number): Promise<void> {
  stage.startLoad();
  await delay(warmUpMs);
  await stage.stopLoad();
}

function growth(holdings: readonly Holdings[]): string[] {
  const [first, last] = [holdings[0]!, holdings.at(-1)!];
  const failures: string[] = [];
  if (last.descriptors > first.descriptors)
    failures.push(`${last.descriptors} descriptors, ${first.descriptors} before`);
  const grown = last.heapBytes - first.heapBytes;
  if (grown > HEAP_GROWTH_LIMIT) failures.push(`the heap grew by ${(grown / MIB).toFixed(1)} MiB`);
  return failures;
}

function unexpectedOutput(gateway: GatewayProcess): string[] {
  const stderr = gateway.stderr();
  const lines = gateway.errorLines().filter((line) => !EXPECTED_ERROR.test(line));
  const failures = stderr === "" ? [] : [`stderr: ${stderr.slice(0, 500)}`];
  if (lines.length > 0) failures.push(`${lines.length} error lines in the log: ${lines[0]!.slice(0, 500)}`);
  return failures;
}
