/**
 * Runs a command of the command line in this process, because a process of its own costs 0.3 s of CPU. It has its own environment,
 * folder, input and output. test/docs-commands.test.ts runs commands as processes.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { expect } from "vitest";
import { runCommandLine } from "../../src/cli/command-line.ts";
import type { StartOptions } from "../../src/start/read-configuration.ts";
import { start } from "../../src/start/start.ts";
import { COMMAND_ENV } from "./process.ts";

export interface EndedCommand {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Commands share the environment of the process: one runs at a time. */
let last: Promise<unknown> = Promise.resolve();

interface CommandInput {
  /** Its stdin. */
  readonly input?: string;
  /** In its folder, by name. */
  readonly files?: Record<string, string>;
  /** Called with all of stderr so far, while the command runs. */
  readonly onNote?: (text: string) => void;
}

/** Runs a command until it ends. */
export function runCommand(
  env: Record<string, string>,
  words: string[],
  more: CommandInput = {},
): Promise<EndedCommand> {
  const run = last.then(() => runAlone(env, words, more));
  last = run.catch(() => {});
  return run;
}

async function runAlone(
  env: Record<string, string>,
  words: string[],
  { input = "", files = {}, onNote }: CommandInput,
): Promise<EndedCommand> {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-command-"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const printed = Promise.all([text(stdout), text(stderr)]);
  let notes = "";
  stderr.on("data", (chunk) => {
    notes += String(chunk);
    onNote?.(notes);
  });
  const restore = replaceMembers(process, {
    env: { PATH: process.env.PATH, ...COMMAND_ENV, ...env },
    stdin: Readable.from(input === "" ? [] : [input]),
    stdout,
    stderr,
  });
  const before = process.cwd();
  process.chdir(folder);
  try {
    const code = await runCommandLine(words, failToStart);
    stdout.end();
    stderr.end();
    const [out, err] = await printed;
    return { code: code || Number(process.exitCode ?? 0), out, err };
  } finally {
    process.exitCode = undefined;
    process.chdir(before);
    restore();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A start that is refused. `startProcess` starts gateways that serve. */
function failToStart(options: StartOptions): Promise<void> {
  return start(() => expect.unreachable("the gateway should not start"), options);
}

/** @returns a function that restores them. */
function replaceMembers(target: object, members: Record<string, unknown>): () => void {
  const before = Object.keys(members).map((name) => [name, Object.getOwnPropertyDescriptor(target, name)] as const);
  for (const [name, value] of Object.entries(members)) {
    Object.defineProperty(target, name, { value, writable: true, configurable: true, enumerable: true });
  }
  return () => {
    for (const [name, descriptor] of before) Object.defineProperty(target, name, descriptor as PropertyDescriptor);
  };
}
