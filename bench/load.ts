/**
 * The load generator, a process of its own: connections with one unit in flight each. It uses raw sockets and prepared bytes,
 * because an HTTP client would take CPU from the measured process.
 * Invariant: a byte that is not the expected one, a closed connection and a hang fail the round.
 */
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { createSecureContext, connect as secureConnect } from "node:tls";
import { exitWithParent } from "./announce.ts";
import { Latencies } from "./latencies.ts";
import { cpuMicros } from "./process-accounting.ts";
import type { CreateClient, Target } from "./workloads/workload.ts";
import { workloads } from "./workloads/workloads.ts";

export interface LoadJob {
  /** The workload's name. */
  readonly workload: string;
  readonly target: Target;
  /** For the workloads that ask the origin directly. */
  readonly originPort: number;
  readonly connections: number;
  /** Load before the window opens, not counted. */
  readonly leadInMs: number;
  readonly windowMs: number;
  /** The measured process. */
  readonly pid: number;
  readonly ticksPerSecond: number;
}

export interface LoadResult {
  readonly units: number;
  readonly cpuMicrosPerUnit: number;
  readonly unitsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type LoadOutcome =
  | { readonly ok: true; readonly result: LoadResult }
  | { readonly ok: false; readonly why: string };

/** How long the last units of a round may take. */
const LAST_UNIT_MS = 5000;

interface Connection {
  readonly socket: Socket;
  /** Waits for the unit in flight and begins no more. */
  finish(): Promise<void>;
}

/** What the connections of a round share. */
interface Round {
  readonly createClient: CreateClient;
  /** Connects to the contestant. */
  readonly openSocket: (onOpen: () => void) => Socket;
  readonly origin: Socket;
  onUnit(ms: number): void;
  fail(error: unknown): void;
}

async function run(job: LoadJob): Promise<LoadResult> {
  const workload = workloads.find(({ name }) => name === job.workload)!;
  const latencies = new Latencies();
  let counting = false;
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  // A failure between two waits is reported by the next one.
  failed.catch(() => undefined);
  const round: Round = {
    createClient: workload.prepare(job.target),
    openSocket: connectorOf(job.target),
    origin: openDirectConnection(job.originPort, fail),
    onUnit: (ms) => void (counting && latencies.add(ms)),
    fail,
  };
  const connections: Connection[] = [];
  try {
    for (let i = 0; i < job.connections; i++) connections.push(openConnection(round, i));
    await Promise.race([delay(job.leadInMs), failed]);
    const cpuBefore = cpuMicros(job.pid, job.ticksPerSecond);
    const timeBefore = performance.now();
    counting = true;
    await Promise.race([delay(job.windowMs), failed]);
    counting = false;
    const seconds = (performance.now() - timeBefore) / 1000;
    const cpu = cpuMicros(job.pid, job.ticksPerSecond) - cpuBefore;
    const idle = Promise.all(connections.map((connection) => connection.finish()));
    const late = delay(LAST_UNIT_MS).then(() => {
      throw new Error(`a ${workload.unit} was not complete after ${LAST_UNIT_MS} ms`);
    });
    await Promise.race([idle, late, failed]);
    if (latencies.total === 0) throw new Error(`no ${workload.unit} was complete within ${job.windowMs} ms`);
    return {
      units: latencies.total,
      cpuMicrosPerUnit: cpu / latencies.total,
      unitsPerSecond: latencies.total / seconds,
      p50Ms: latencies.percentile(0.5),
      p99Ms: latencies.percentile(0.99),
    };
  } finally {
    for (const { socket } of connections) socket.removeAllListeners("close").destroy();
    round.origin.removeAllListeners("close").destroy();
  }
}

/** Each byte on it asks the origin for the next event of that stream. */
function openDirectConnection(port: number, fail: (error: unknown) => void): Socket {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the origin closed the connection that asks for events")));
  socket.resume();
  socket.write("GET /streams/next HTTP/1.1\r\nHost: origin\r\nConnection: Upgrade\r\nUpgrade: events\r\n\r\n");
  return socket;
}

/** Over TLS, the certificate is verified, and a contestant without TLS 1.3 fails the round. */
function connectorOf({ port, caFile }: Target): Round["openSocket"] {
  const to = { port, host: "127.0.0.1" };
  if (caFile === undefined) return (onOpen) => connect({ ...to, noDelay: true }, onOpen);
  const secureContext = createSecureContext({ ca: readFileSync(caFile), minVersion: "TLSv1.3" });
  return (onOpen) => secureConnect({ ...to, secureContext, ALPNProtocols: ["http/1.1"] }, onOpen).setNoDelay(true);
}

/** Begins a unit after each complete one, until the socket is destroyed. */
function openConnection({ createClient, openSocket, origin, onUnit, fail }: Round, number: number): Connection {
  const socket = openSocket(() => client.start());
  const streamNumber = Buffer.of(number);
  let begunAt = 0;
  let onIdle: (() => void) | undefined;
  const client = createClient(number, {
    send: (bytes) => {
      begunAt = performance.now();
      socket.write(bytes);
    },
    requestEvent: () => {
      begunAt = performance.now();
      origin.write(streamNumber);
    },
    onUnit: () => {
      onUnit(performance.now() - begunAt);
      onIdle?.();
      return onIdle === undefined;
    },
  });
  socket.on("data", (chunk) => {
    try {
      client.onData(chunk);
    } catch (error) {
      fail(error);
    }
  });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the connection was closed under load")));
  const finish = () =>
    new Promise<void>((resolve) => {
      onIdle = resolve;
    });
  return { socket, finish };
}

process.on("message", (job: LoadJob) => {
  run(job)
    .then((result): LoadOutcome => ({ ok: true, result }))
    .catch(
      (error: unknown): LoadOutcome => ({ ok: false, why: error instanceof Error ? error.message : String(error) }),
    )
    .then((outcome) => process.send?.(outcome));
});
exitWithParent();
