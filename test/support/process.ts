/** A gateway as a process of its own: what it prints, how it ends, and with which code. */
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
  /** Code and signal once it has ended. */
  readonly ended: Promise<number | null>;
  /** Port that it says it listens on. */
  port(): Promise<number>;
}

/** Node under a limit of descriptors: the shell ends in `exec`, so that the process is the gateway all the same. */
export function withOpenFiles(limit: number): readonly string[] {
  return ["sh", "-c", `ulimit -n ${limit}; exec "$0" "$@"`, process.execPath];
}

/** Started as an operator would, in a folder of its own; gone when the test is over. */
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
    env: { PATH: process.env.PATH, PORT: "0", LOG_FORMAT: "json", SHUTDOWN_DELAY: "0", ...env },
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
    const listening = () => /listens on http:\/\/[^ "]+:(\d+)/.exec(out)?.[1];
    return Number(await eventually(listening, `the gateway to listen; it printed ${err}`, 9_000));
  };
  return { child, directory, out: () => out, err: () => err, ended, port };
}

export interface EndedRun {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A command that ends by itself. @param input what it reads from stdin. */
export async function runCommand(
  env: Record<string, string>,
  words: string[],
  { input = "", files = {} }: { input?: string; files?: Record<string, string> } = {},
): Promise<EndedRun> {
  const run = startProcess(env, words, files);
  run.child.stdin?.end(input);
  const code = await run.ended;
  return { code, out: run.out(), err: run.err() };
}
