#!/usr/bin/env node
/**
 * Start, signals, drain: the only place that ends the process.
 * Invariant: exit 0 when everything was finished, 1 when something was cut or the start failed, 2 for bad configuration or use;
 * and no stack trace for what a user can mend.
 */
import { isStoredKey } from "./callers/stored-key.ts";
import { check } from "./cli/check.ts";
import { announceUpdate, describeStart } from "./cli/describe-start.ts";
import { followChanges } from "./cli/follow-changes.ts";
import { checkAddress, checkDataDir, explainStartFailure } from "./cli/start-failure.ts";
import { ConfigProblems, loadConfig } from "./config/load-config.ts";
import type { Settings } from "./config/settings.ts";
import { type Gateway, type GatewayStores, openGateway } from "./gateway.ts";
import { isStoredService } from "./registry/stored-service.ts";
import { type DataDirLock, lockDataDir } from "./stores/data-dir-lock.ts";
import { openFileStores } from "./stores/open-stores.ts";
import { version } from "./version.ts";

/** npm and terminals send a signal to the whole process group: within this many ms it is one and the same. */
const SAME_SIGNAL_MS = 1_000;

const USAGE = `Usage: byteproxy [start]
       byteproxy check [file] [--json]

start, the default: the gateway in this folder, configured by environment variables, .env, .env.local and config/services.json.
check: says what a start would say of that configuration, or of this services file, without starting. Exit code 0 or 2.

  --help, -h       this text
  --version, -v    the version
`;

await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<void> {
  const [command = "start", ...rest] = words;
  if (command === "--help" || command === "-h" || command === "help") return print(USAGE, 0);
  if (command === "--version" || command === "-v") return print(`${version.version}\n`, 0);
  if (command === "check") return checkConfiguration(rest);
  if (command !== "start" || rest.length > 0) return print(`Unknown: ${words.join(" ")}\n\n${USAGE}`, 2);
  await start();
}

function checkConfiguration(words: readonly string[]): void {
  const [file, ...others] = words.filter((word) => word !== "--json");
  if (others.length > 0 || file?.startsWith("-")) return print(`Unknown: check ${words.join(" ")}\n\n${USAGE}`, 2);
  const isJson = words.includes("--json");
  const { text, exitCode } = check(file, isJson);
  if (isJson) process.stdout.write(`${text}\n`);
  print(isJson ? "" : `${text}\n`, exitCode);
}

async function start(): Promise<void> {
  let lock: DataDirLock | undefined;
  try {
    const config = loadConfig();
    const { settings } = config;
    const warning = checkDataDir(settings.DATA_DIR);
    await checkAddress(settings.PORT, settings.HOST);
    lock = await lockDataDir(settings.DATA_DIR);
    const stores: GatewayStores = await openFileStores(settings.DATA_DIR, isStoredService, isStoredKey);
    const gateway = await openGateway(config, { load: loadConfig, stores });
    // Before it says that it listens: whoever reads that may send a signal at once.
    endOnSignal(gateway, lock, settings);
    followChanges(gateway);
    if (warning !== undefined) gateway.logger.warn(warning);
    describeStart(gateway);
    void announceUpdate(gateway);
  } catch (error) {
    await lock?.release();
    if (error instanceof ConfigProblems) return print(`${error.problems.join("\n")}\n`, 2);
    const words = explainStartFailure(error);
    if (words === undefined) throw error;
    return print(`${words}\n`, 1);
  }
}

function endOnSignal(gateway: Gateway, lock: DataDirLock, { SHUTDOWN_DELAY, SHUTDOWN_TIMEOUT }: Settings): void {
  let firstAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    if (firstAt !== undefined) {
      // A later signal is someone who does not want to wait.
      if (performance.now() - firstAt > SAME_SIGNAL_MS) process.exit(1);
      return;
    }
    firstAt = performance.now();
    gateway.logger.info(`${signal}: serving for ${SHUTDOWN_DELAY} ms more, then finishing what is in flight`);
    void gateway.drain(SHUTDOWN_DELAY, SHUTDOWN_TIMEOUT).then(async (cut) => {
      await lock.release();
      process.exit(cut === 0 ? 0 : 1);
    });
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}

function print(text: string, exitCode: number): void {
  (exitCode === 0 ? process.stdout : process.stderr).write(text);
  process.exitCode = exitCode;
}
