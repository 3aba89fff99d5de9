#!/usr/bin/env node
/**
 * The process entry: runs the command line, handles signals and sets the exit code. No other file ends the process.
 * Invariant: the exit code is 0 for completed work, 1 when an exchange was cut or the start failed, and 2 for wrong use or a
 * wrong configuration. An error that the user can fix is printed without a stack trace.
 */
import type { Settings } from "./config/settings.ts";
import type { Gateway } from "./gateway.ts";
import type { DataDirLock } from "./stores/data-dir-lock.ts";
import { findUnsupportedRuntime } from "./unsupported-runtime.ts";

/** npm and terminals send a signal to the whole process group: signals within this many ms count as one. */
const SAME_SIGNAL_MS = 1_000;

const unsupported = findUnsupportedRuntime(process.versions);
if (unsupported !== undefined) {
  process.stderr.write(`${unsupported}\n`);
  process.exit(1);
}
// Not imported above: other runtimes may not be able to load it.
const { runCommandLine } = await import("./cli/command-line.ts");

const exitCode = await runCommandLine(process.argv.slice(2), async (options) => {
  // Loaded only here: the other commands do not need the gateway.
  const { start } = await import("./start/start.ts");
  await start(exitOnSignal, options);
});
// A failed write to stdout may already have set an exit code: 0 must not overwrite it.
if (exitCode !== 0) process.exitCode = exitCode;

function exitOnSignal(gateway: Gateway, lock: DataDirLock): void {
  const { SHUTDOWN_DELAY, SHUTDOWN_TIMEOUT }: Settings = gateway.config.settings;
  let firstAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt !== undefined) {
      // A second signal means that the operator does not want to wait.
      if (performance.now() - firstAt > SAME_SIGNAL_MS) process.exit(1);
      return;
    }
    firstAt = performance.now();
    gateway.logger.info(
      `${signal}: serving new requests for ${SHUTDOWN_DELAY} ms more, then finishing requests in flight`,
    );
    void gateway.drain(SHUTDOWN_DELAY, SHUTDOWN_TIMEOUT).then(async (cut) => {
      await lock.release();
      process.exit(cut === 0 ? 0 : 1);
    });
  };
  // Node would print every member of the error, and libraries attach the bytes of messages to theirs.
  process.on("uncaughtException", (error) => {
    gateway.logger.error({ err: error }, "an unexpected error ended the gateway");
    gateway.logger.flush();
    process.stderr.write("An unexpected error ended the gateway; its log has the cause.\n");
    process.exit(1);
  });
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
