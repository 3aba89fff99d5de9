/** The built gateway under test, a process of its own. Its stdout and stderr go to files, so that unexpected output is found. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { residentBytes } from "../process-accounting.ts";
import { freePort, type Processes } from "../processes.ts";
import { callGateway } from "./call-gateway.ts";
import type { SwitchOrder, SwitchReport } from "./switches.ts";

const READY_MS = 20_000;
/** More than a drain with requests in flight takes. */
const END_MS = 10_000;

export interface GatewaySetup {
  /** dist/main.js. */
  readonly main: string;
  /** switches.js. */
  readonly switches: string;
  readonly services: unknown;
  /** Limit of open descriptors; undefined for the machine's limit. */
  readonly openFiles: number | undefined;
}

/** Resources of the process. Each must return to its initial value. */
export interface Holdings {
  readonly heapBytes: number;
  readonly residentBytes: number;
  readonly descriptors: number;
  readonly sockets: number;
}

export class GatewayProcess {
  readonly #processes: Processes;
  readonly #setup: GatewaySetup;
  readonly #home: string;
  readonly port: number;
  #child!: ChildProcess & { readonly pid: number };

  private constructor(processes: Processes, setup: GatewaySetup, port: number) {
    this.#processes = processes;
    this.#setup = setup;
    this.port = port;
    this.#home = join(processes.folder, `gateway-${port}`);
  }

  static async start(processes: Processes, setup: GatewaySetup): Promise<GatewayProcess> {
    const gateway = new GatewayProcess(processes, setup, await freePort());
    mkdirSync(gateway.#home);
    writeFileSync(join(gateway.#home, "services.json"), JSON.stringify({ services: setup.services }));
    await gateway.start();
    return gateway;
  }

  get dataDir(): string {
    return join(this.#home, "data");
  }

  /** As `npm start` does in the end: `exec node dist/main.js`. */
  async start(): Promise<void> {
    const { main, switches, openFiles } = this.#setup;
    const limit = openFiles === undefined ? "" : `ulimit -n ${openFiles}; `;
    const files = ["stdout", "stderr"].map((name) => openSync(join(this.#home, name), "a"));
    this.#child = this.#processes.start(
      ["-c", `${limit}exec "$0" "$@"`, process.execPath, "--expose-gc", "--import", switches, main],
      { cwd: this.#home, env: this.#env(), stdio: ["ignore", files[0], files[1], "ipc"] },
      "sh",
    );
    for (const file of files) closeSync(file);
    await this.#untilReady();
  }

  #env(): Record<string, string | undefined> {
    return {
      PATH: process.env.PATH,
      PORT: String(this.port),
      CONFIG_FILE: "services.json",
      LOG_FORMAT: "json",
      SHUTDOWN_DELAY: "300",
      // A slow machine is not one of the faults.
      PRESSURE_MAX_EVENT_LOOP_DELAY: "0",
    };
  }

  async #untilReady(): Promise<void> {
    const deadline = performance.now() + READY_MS;
    for (;;) {
      const isReady = await this.#isReady();
      if (isReady) return;
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        throw new Error(`the gateway did not start: ${this.stderr()}`);
      }
      await delay(20);
    }
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await callGateway(this.port, "GET", "/health/ready")).status === 200;
    } catch {
      return false;
    }
  }

  /** @throws if it has ended by itself. */
  assertAlive(): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) throw new Error(this.#howItEnded());
  }

  /** SIGTERM. @throws unless it ends with exit code 0. */
  async end(): Promise<void> {
    this.assertAlive();
    const gone = once(this.#child, "exit", { signal: AbortSignal.timeout(END_MS) });
    this.#child.kill("SIGTERM");
    await gone;
    if (this.#child.exitCode !== 0) throw new Error(this.#howItEnded());
  }

  #howItEnded(): string {
    return `the gateway ended with ${this.#child.exitCode ?? this.#child.signalCode}`;
  }

  async setSwitch(order: SwitchOrder): Promise<SwitchReport> {
    this.assertAlive();
    const report = once(this.#child, "message");
    this.#child.send(order);
    return ((await report) as [SwitchReport])[0];
  }

  async holdings(): Promise<Holdings> {
    const { heapUsed } = await this.setSwitch({ kind: "heap" });
    const folder = `/proc/${this.#child.pid}/fd`;
    const open = readdirSync(folder).flatMap((descriptor) => {
      try {
        return [readlinkSync(join(folder, descriptor))];
      } catch {
        // Closed between the two calls.
        return [];
      }
    });
    return {
      heapBytes: heapUsed,
      residentBytes: residentBytes(this.#child.pid),
      descriptors: open.length,
      sockets: open.filter((link) => link.startsWith("socket:")).length,
    };
  }

  stderr(): string {
    return readFileSync(join(this.#home, "stderr"), "utf8");
  }

  /** Its log lines of level error and above. */
  errorLines(): string[] {
    const log = readFileSync(join(this.#home, "stdout"), "utf8");
    return log.split("\n").filter((line) => /^\{"level":[56]0,/.test(line));
  }
}
