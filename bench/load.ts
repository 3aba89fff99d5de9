/**
 * The load generator, a process of its own: keep-alive connections with one request in flight each.
 * It uses raw sockets and one prepared request, because an HTTP client would take CPU from the measured process.
 * Invariant: anything but a complete 200 response of the expected size fails the round.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { exitWithParent } from "./announce.ts";
import { cpuMicros } from "./process-accounting.ts";

export interface LoadJob {
  readonly port: number;
  /** The complete request, as sent on the wire. */
  readonly request: string;
  /** The Content-Length that every response must have. */
  readonly bodyBytes: number;
  readonly connections: number;
  /** Load before the window opens, not counted. */
  readonly leadInMs: number;
  readonly windowMs: number;
  /** The measured process. */
  readonly pid: number;
  readonly ticksPerSecond: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly cpuMicrosPerRequest: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export type LoadOutcome =
  | { readonly ok: true; readonly result: LoadResult }
  | { readonly ok: false; readonly why: string };

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const CONTENT_LENGTH = /\r\ncontent-length: *(\d+)/i;
/** A bucket per 10 µs, up to 2 s; slower responses count in the last one. */
const BUCKET_MS = 0.01;
const BUCKETS = 200_000;
/** How long the last responses of a round may take. */
const LAST_RESPONSE_MS = 5000;

interface Connection {
  readonly socket: Socket;
  /** Waits for the response in flight and sends no more requests. */
  finish(): Promise<void>;
}

async function run(job: LoadJob): Promise<LoadResult> {
  const latencies = new Uint32Array(BUCKETS);
  let requests = 0;
  let counting = false;
  const onResponse = (ms: number) => {
    if (!counting) return;
    requests++;
    latencies[Math.min(BUCKETS - 1, Math.floor(ms / BUCKET_MS))]!++;
  };
  let fail: (error: Error) => void = () => undefined;
  const failed = new Promise<never>((_resolve, reject) => {
    fail = reject;
  });
  // A failure between two waits is reported by the next one.
  failed.catch(() => undefined);
  const connections: Connection[] = [];
  try {
    for (let i = 0; i < job.connections; i++) connections.push(openConnection(job, onResponse, fail));
    await Promise.race([delay(job.leadInMs), failed]);
    const cpuBefore = cpuMicros(job.pid, job.ticksPerSecond);
    const timeBefore = performance.now();
    counting = true;
    await Promise.race([delay(job.windowMs), failed]);
    counting = false;
    const seconds = (performance.now() - timeBefore) / 1000;
    const cpu = cpuMicros(job.pid, job.ticksPerSecond) - cpuBefore;
    const idle = Promise.all(connections.map((connection) => connection.finish()));
    const late = delay(LAST_RESPONSE_MS).then(() => {
      throw new Error(`a request had no response after ${LAST_RESPONSE_MS} ms`);
    });
    await Promise.race([idle, late, failed]);
    return {
      requests,
      cpuMicrosPerRequest: cpu / requests,
      requestsPerSecond: requests / seconds,
      p50Ms: percentile(latencies, requests * 0.5),
      p99Ms: percentile(latencies, requests * 0.99),
    };
  } finally {
    for (const { socket } of connections) socket.removeAllListeners("close").destroy();
  }
}

/** Sends a request after each complete response, until the socket is destroyed. */
function openConnection(job: LoadJob, onResponse: (ms: number) => void, fail: (error: Error) => void): Connection {
  const request = Buffer.from(job.request, "latin1");
  const socket = connect({ port: job.port, host: "127.0.0.1", noDelay: true });
  let sentAt = 0;
  let onIdle: (() => void) | undefined;
  let head: Buffer | undefined;
  let bodyLeft = -1;
  const send = () => {
    sentAt = performance.now();
    bodyLeft = -1;
    socket.write(request);
  };
  const onData = (chunk: Buffer) => {
    let bodyBytes = chunk.length;
    if (bodyLeft < 0) {
      head = head === undefined ? chunk : Buffer.concat([head, chunk]);
      const end = head.indexOf(END_OF_HEAD);
      if (end < 0) return;
      const problem = problemWith(head.toString("latin1", 0, end), job.bodyBytes);
      if (problem !== undefined) return fail(new Error(problem));
      bodyBytes = head.length - end - END_OF_HEAD.length;
      bodyLeft = job.bodyBytes;
      head = undefined;
    }
    bodyLeft -= bodyBytes;
    if (bodyLeft > 0) return;
    if (bodyLeft < 0) return fail(new Error("more bytes than the Content-Length of the response"));
    onResponse(performance.now() - sentAt);
    if (onIdle === undefined) send();
    else onIdle();
  };
  socket.on("connect", send);
  socket.on("data", onData);
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the connection was closed under load")));
  const finish = () =>
    new Promise<void>((resolve) => {
      onIdle = resolve;
    });
  return { socket, finish };
}

function problemWith(head: string, bodyBytes: number): string | undefined {
  if (!head.startsWith("HTTP/1.1 200 ")) return `expected 200, got:\n${head}`;
  const length = CONTENT_LENGTH.exec(head)?.[1];
  if (Number(length) !== bodyBytes) return `expected Content-Length ${bodyBytes}, got:\n${head}`;
  return undefined;
}

function percentile(latencies: Uint32Array, rank: number): number {
  let seen = 0;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    seen += latencies[bucket]!;
    if (seen >= rank) return (bucket + 0.5) * BUCKET_MS;
  }
  return BUCKETS * BUCKET_MS;
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
