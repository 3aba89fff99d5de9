/** Controls an upstream process: starts, kills and freezes it, and sets its behaviour. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { type Processes, stop } from "../processes.ts";
import type { BehaviourName } from "./behaviours.ts";
import type { UpstreamOrder, UpstreamReport } from "./upstream.ts";

export class UpstreamProcess {
  readonly #processes: Processes;
  readonly #file: string;
  #child!: ChildProcess;
  #port = 0;

  constructor(processes: Processes, file: string) {
    this.#processes = processes;
    this.#file = file;
  }

  get port(): number {
    return this.#port;
  }

  /** On the same port as before. */
  async start(): Promise<void> {
    const options = { stdio: ["ignore", "inherit", "inherit", "ipc"] as const };
    this.#child = this.#processes.start([this.#file, String(this.#port)], { stdio: [...options.stdio] });
    const report = await this.#report();
    if (report.kind === "listening") this.#port = report.port;
  }

  async behave(as: BehaviourName): Promise<void> {
    await this.#order({ kind: "behave", as });
  }

  /** The requests of these that reached it. */
  async seen(ids: readonly string[]): Promise<readonly string[]> {
    const report = await this.#order({ kind: "seen", ids });
    return report.kind === "seen" ? report.ids : [];
  }

  /** At once, like a crash. */
  async kill(): Promise<void> {
    const gone = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await gone;
  }

  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child.kill("SIGCONT");
  }

  stop(): Promise<void> {
    return stop(this.#child);
  }

  async #order(order: UpstreamOrder): Promise<UpstreamReport> {
    const report = this.#report();
    this.#child.send(order);
    return report;
  }

  async #report(): Promise<UpstreamReport> {
    const [report] = (await once(this.#child, "message")) as [UpstreamReport];
    return report;
  }
}
