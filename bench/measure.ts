/**
 * The rounds of a workload: each puts every contestant under the same load, one after another, so that a machine that becomes slower or
 * noisier does so for all of them. The result is the median over rounds; ratios are taken within a round.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { API_KEY } from "./gateway.ts";
import type { LoadJob, LoadOutcome, LoadResult } from "./load.ts";
import type { Options } from "./options.ts";
import { peakResidentBytes } from "./process-accounting.ts";
import type { RunningServer } from "./processes.ts";
import type { ContestantName, Workload } from "./workloads/workload.ts";

export const CONNECTIONS = 32;
const LEAD_IN_MS = 250;

export interface Contestant {
  readonly name: ContestantName;
  readonly server: RunningServer;
  /** What precedes the origin's paths. */
  readonly prefix: string;
  /** The authority of its certificate; undefined for plain HTTP. */
  readonly caFile: string | undefined;
}

export interface Measured {
  readonly name: ContestantName;
  /** In the order of the rounds; an index is the same round for all contestants. */
  readonly rounds: readonly LoadResult[];
  readonly peakBytes: number;
}

/** The process that puts the contestants under load, and what it needs to know. */
export interface Load {
  readonly child: ChildProcess;
  readonly ticksPerSecond: number;
  readonly originPort: number;
}

/** Runs the warm-up, then the rounds. @throws at the first byte that is not the expected one. */
export async function measure(
  workload: Workload,
  contestants: readonly Contestant[],
  load: Load,
  options: Options,
): Promise<Measured[]> {
  const measureOnce = ({ name, server, prefix, caFile }: Contestant, seconds: number) =>
    runJob(load.child, `${name} under ${workload.name}`, {
      workload: workload.name,
      target: { port: server.port, prefix, apiKey: API_KEY, caFile },
      originPort: load.originPort,
      connections: CONNECTIONS,
      leadInMs: LEAD_IN_MS,
      windowMs: seconds * 1000,
      pid: server.pid,
      ticksPerSecond: load.ticksPerSecond,
    });
  for (const contestant of contestants) await measureOnce(contestant, options.warmUpSeconds);
  const results = new Map<ContestantName, LoadResult[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const contestant of rotate(contestants, round)) {
      results.get(contestant.name)!.push(await measureOnce(contestant, options.seconds));
    }
    process.stderr.write(`${workload.name}: round ${round + 1} of ${options.rounds}\n`);
  }
  return contestants.map(({ name, server }) => ({
    name,
    rounds: results.get(name)!,
    peakBytes: peakResidentBytes(server.pid),
  }));
}

/** The order changes each round, because the previous contestant affects the CPU caches. */
function rotate<T>(items: readonly T[], by: number): T[] {
  const at = by % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}

async function runJob(load: ChildProcess, what: string, job: LoadJob): Promise<LoadResult> {
  if (load.exitCode !== null) throw new Error("the load generator has ended");
  const waiting = new AbortController();
  const answered = once(load, "message", { signal: waiting.signal });
  const ended = once(load, "exit", { signal: waiting.signal });
  load.send(job);
  // The first event counts; the other wait is canceled.
  const [outcome] = (await Promise.race([
    answered,
    ended.then(() => [{ ok: false, why: "the load generator ended" }]),
  ])) as [LoadOutcome];
  waiting.abort();
  if (!outcome.ok) throw new Error(`${what} failed: ${outcome.why}`);
  return outcome.result;
}
