/** Runs a gateway, or a command until a signal, as a separate process, and records its output and its exit code. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { builtMain } from "./built.ts";
import { eventually } from "./eventually.ts";

export interface Run {
  readonly child: ChildProcess;
  readonly directory: string;
  out(): string;
  err(): string;
  /** Resolves to the exit code when the process has ended; null after a signal. */
  readonly ended: Promise<number | null>;
  /** The port from the log line that says where the gateway listens. */
  port(): Promise<number>;
}

/** Node with a limit of open files. The shell uses `exec`, so that the child process is the gateway itself. */
export function withOpenFiles(limit: number): readonly string[] {
  return ["sh", "-c", `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath];
}

/** No shedding: the load of other tests must not refuse requests. */
export const COMMAND_ENV = { PORT: "0", LOG_FORMAT: "json", SHUTDOWN_DELAY: "0", PRESSURE_MAX_EVENT_LOOP_DELAY: "0" };

/** Starts the process in a temporary folder. Both are removed after the test. */
export function startProcess(
  env: Record<string, string> = {},
  words: string[] = [],
  files: Record<string, string> = {},
  command: readonly string[] = [process.execPath],
): Run {
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-process-"));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const [program = "", ...before] = command;
  const child = spawn(program, [...before, builtMain, ...words], {
    cwd: directory,
    env: { PATH: process.env.PATH, ...COMMAND_ENV, ...env },
  });
  let out = "";
  let err = "";
  child.stdout?.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    err += chunk;
  });
  const ended = new Promise<number | null>((done) => child.on("close", (code) => done(code)));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  });
  const port = async () => {
    const listening = () => /listens on https?:\/\/[^ "]+:(\d+)/.exec(out)?.[1];
    return Number(await eventually(listening, `the gateway to listen; it printed ${err}`, 9_000));
  };
  return { child, directory, out: () => out, err: () => err, ended, port };
}
