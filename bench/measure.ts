/**
 * The rounds: each puts every contestant under the same load, one after another, so that a machine that becomes slower or noisier does
 * so for all of them. The result is the median over rounds; ratios are taken within a round.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { LoadJob, LoadOutcome, LoadResult } from "./load.ts";
import type { ContestantName, Options } from "./options.ts";
import { peakResidentBytes } from "./process-accounting.ts";
import type { RunningServer } from "./processes.ts";

const CONNECTIONS = 32;
const LEAD_IN_MS = 250;

export interface Contestant {
  readonly name: ContestantName;
  readonly server: RunningServer;
  /** The path of the origin's item at this contestant. */
  readonly path: string;
}

export interface Measured {
  readonly name: ContestantName;
  /** In the order of the rounds; an index is the same round for all contestants. */
  readonly rounds: readonly LoadResult[];
  readonly peakBytes: number;
}

export interface LoadSettings {
  readonly ticksPerSecond: number;
  readonly bodyBytes: number;
  readonly apiKey: string;
}

/** Runs the warm-up, then the rounds. @throws at the first response that is not the origin's. */
export async function measure(
  contestants: readonly Contestant[],
  load: ChildProcess,
  options: Options,
  settings: LoadSettings,
): Promise<Measured[]> {
  const jobOf = (contestant: Contestant, seconds: number): LoadJob => ({
    port: contestant.server.port,
    request: requestText(contestant, settings.apiKey),
    bodyBytes: settings.bodyBytes,
    connections: CONNECTIONS,
    leadInMs: LEAD_IN_MS,
    windowMs: seconds * 1000,
    pid: contestant.server.pid,
    ticksPerSecond: settings.ticksPerSecond,
  });
  for (const contestant of contestants) {
    await runJob(load, contestant.name, jobOf(contestant, options.warmUpSeconds));
  }
  const results = new Map<ContestantName, LoadResult[]>(contestants.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const contestant of rotate(contestants, round)) {
      const result = await runJob(load, contestant.name, jobOf(contestant, options.seconds));
      results.get(contestant.name)!.push(result);
    }
    process.stderr.write(`round ${round + 1} of ${options.rounds}\n`);
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

/** A request like that of an SDK: eight headers, a key, a query. */
function requestText(contestant: Contestant, apiKey: string): string {
  return [
    `GET ${contestant.path} HTTP/1.1`,
    `Host: 127.0.0.1:${contestant.server.port}`,
    `Authorization: Bearer ${apiKey}`,
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.8",
    "User-Agent: example-sdk/4.2.0 (linux; x64) node/20.20.0",
    "X-Sdk-Version: 4.2.0",
    "Connection: keep-alive",
    "",
    "",
  ].join("\r\n");
}

async function runJob(load: ChildProcess, name: string, job: LoadJob): Promise<LoadResult> {
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
  if (!outcome.ok) throw new Error(`${name} failed under load: ${outcome.why}`);
  return outcome.result;
}
