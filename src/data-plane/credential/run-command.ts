/**
 * Runs the commands that print secrets, each without a shell and in a process group of its own.
 * Invariant: a run ends within its time limit, and every process that is left in its group is killed then, whatever it does; what it
 * printed is returned or discarded, never logged.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { type CommandOutcome, failed, readOutput } from "./command-output.ts";
import { describeStartFailure } from "./command-start-failure.ts";

export interface Command {
  /** The program and its arguments. A program with a slash is relative to `directory`, any other one is searched in PATH. */
  readonly argv: readonly string[];
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
}

export interface CommandRunner {
  /** Starts the command. */
  start(command: Command): CommandRun;
  /** Kills every command that runs, now and from now on. */
  close(): void;
}

export interface CommandRun {
  /** Never rejects. */
  readonly outcome: Promise<CommandOutcome>;
  /** Kills the whole group, at once. */
  kill(): void;
}

export interface RunLimits {
  readonly timeoutMs: number;
  readonly outputBytes: number;
  /** How long the output of a command that has ended may stay open: a process outside of the group may hold it. */
  readonly drainMs: number;
}

export const RUN_LIMITS: RunLimits = { timeoutMs: 10_000, outputBytes: 65_536, drainMs: 500 };

export function createCommandRunner(limits: RunLimits = RUN_LIMITS): CommandRunner {
  const runs = new Set<Run>();
  let isClosed = false;
  /** The process may end without `close`: on a second signal, or after an error. */
  const onProcessExit = () => {
    for (const run of runs) run.kill();
  };
  return {
    start(command) {
      if (isClosed) return { outcome: Promise.resolve(failed(WAS_CLOSED)), kill() {} };
      if (runs.size === 0) process.on("exit", onProcessExit);
      const run: Run = new Run(command, limits, () => {
        runs.delete(run);
        if (runs.size === 0) process.off("exit", onProcessExit);
      });
      runs.add(run);
      run.begin();
      return run;
    },
    close() {
      isClosed = true;
      for (const run of runs) run.kill();
    },
  };
}

const WAS_CLOSED = "was ended, because the gateway no longer needs it";

class Run implements CommandRun {
  readonly outcome: Promise<CommandOutcome>;
  readonly #command: Command;
  readonly #limits: RunLimits;
  readonly #onEnd: () => void;
  #resolve!: (outcome: CommandOutcome) => void;
  #child: ChildProcess | undefined;
  /** Of the group; undefined once it was killed. */
  #pid: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #chunks: Buffer[] = [];
  #length = 0;
  #isOver = false;

  constructor(command: Command, limits: RunLimits, onEnd: () => void) {
    this.#command = command;
    this.#limits = limits;
    this.#onEnd = onEnd;
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  begin(): void {
    const { argv, directory, environment } = this.#command;
    const [program = "", ...args] = argv;
    let child: ChildProcess;
    try {
      child = spawn(program, args, {
        cwd: directory,
        env: environment,
        // A group of its own, without a terminal: a command cannot wait for a passphrase to be typed.
        detached: true,
        // Standard error is discarded by the system: tools print secrets there, too.
        stdio: ["ignore", "pipe", "ignore"],
      });
    } catch (error) {
      return this.#end(failed(describeStartFailure(error)));
    }
    this.#child = child;
    this.#pid = child.pid;
    child.on("error", (error) => this.#end(failed(describeStartFailure(error))));
    child.on("exit", this.#onExit);
    const { timeoutMs } = this.#limits;
    this.#timer = setTimeout(
      () => this.#end(failed(`did not end within ${timeoutMs / 1000} seconds and was killed`)),
      timeoutMs,
    );
    // Undefined where the process could not be created.
    child.stdout?.on("error", () => {});
    child.stdout?.on("data", this.#onData);
  }

  kill(): void {
    this.#end(failed(WAS_CLOSED));
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#length += chunk.length;
    const { outputBytes } = this.#limits;
    if (this.#length <= outputBytes) this.#chunks.push(chunk);
    else this.#end(failed(`printed more than ${outputBytes / 1024} KiB and was killed`));
  };

  readonly #onExit = (code: number | null, signal: NodeJS.Signals | null): void => {
    // What it left running may hold its output open.
    this.#killGroup();
    if (signal !== null) return this.#end(failed(`was ended by ${signal}`));
    if (code !== 0) return this.#end(failed(`exited with code ${code}`));
    clearTimeout(this.#timer);
    const complete = () => this.#end(readOutput(Buffer.concat(this.#chunks)));
    this.#timer = setTimeout(complete, this.#limits.drainMs);
    this.#child?.on("close", complete);
  };

  #end(outcome: CommandOutcome): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#killGroup();
    this.#child?.stdout?.destroy();
    this.#chunks = [];
    this.#onEnd();
    this.#resolve(outcome);
  }

  /** Once: the system may give the number of a group that has ended to another one. */
  #killGroup(): void {
    const pid = this.#pid;
    this.#pid = undefined;
    if (pid === undefined) return;
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // No process is left, or it runs as another user.
    }
  }
}
