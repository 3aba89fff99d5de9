/**
 * The processes and the temporary folder of one benchmark.
 * Invariant: however the benchmark ends, its processes are ended by their ids, and the folder is removed.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Certificate } from "./certificate.ts";

/** How long a process may take to end after SIGTERM. */
const GRACE_MS = 5000;
const START_MS = 20_000;

/** A measured server process, and its port. */
export interface RunningServer {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
}

/** What a program of announce.ts gets as arguments. */
export interface ServerSetup {
  /** For contestants. */
  readonly origin?: { readonly url: string; readonly caFile: string | undefined };
  /** It serves https with this certificate. */
  readonly certificate: Certificate | undefined;
}

export type Processes = ReturnType<typeof createProcesses>;

/** Starts children and ends them in `close`, also after Ctrl-C and SIGTERM. */
export function createProcesses() {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-bench-"));
  const children = new Set<ChildProcess>();

  function start(
    args: readonly string[],
    options: SpawnOptions,
    command = process.execPath,
  ): ChildProcess & { readonly pid: number } {
    const child = spawn(command, args, options);
    if (child.pid === undefined) throw new Error(`could not start ${command} ${args.join(" ")}`);
    children.add(child);
    child.on("exit", () => children.delete(child));
    return child as ChildProcess & { readonly pid: number };
  }

  /** Starts a program that prints its port (announce.ts). */
  async function startServer(file: string, setup: ServerSetup): Promise<RunningServer> {
    const child = start([file, ...argumentsOf(setup)], { stdio: ["pipe", "pipe", "inherit"] });
    const deadline = AbortSignal.timeout(START_MS);
    const printed = once(child.stdout!, "data", { signal: deadline });
    const ended = once(child, "exit", { signal: deadline }).then(() => {
      throw new Error(`${file} ended before it listened`);
    });
    const [line] = (await Promise.race([printed, ended])) as [Buffer];
    return { child, pid: child.pid, port: Number(line.toString()) };
  }

  async function close(): Promise<void> {
    await Promise.all([...children].map(stop));
    removeFolder();
  }

  function removeFolder(): void {
    rmSync(folder, { recursive: true, force: true });
  }

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      for (const child of children) child.kill("SIGKILL");
      removeFolder();
      process.exit(signal === "SIGINT" ? 130 : 143);
    });
  }

  return { folder, start, startServer, close };
}

function argumentsOf({ origin, certificate }: ServerSetup): string[] {
  const values = { origin: origin?.url, ca: origin?.caFile, cert: certificate?.certFile, key: certificate?.keyFile };
  return Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
}

/** Ends one process: SIGTERM, then SIGKILL if it does not end. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
  await gone;
  clearTimeout(timer);
}

/** A free loopback port, for a server that cannot report the port that it chose. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not listening on a port");
  server.close();
  await once(server, "close");
  return address.port;
}
