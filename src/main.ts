#!/usr/bin/env node
/**
 * Start, signals, drain: the only place that ends the process.
 * Invariant: exit 0 when everything was finished, 1 when something was cut or the start failed, 2 for bad configuration or use;
 * and no stack trace for what a user can mend.
 */
import { isStoredKey } from "./callers/stored-key.ts";
import type { ExitCode } from "./cli/cli-failure.ts";
import { runCommandLine } from "./cli/command-line.ts";
import { announceUpdate, describeStart } from "./cli/describe-start.ts";
import { followChanges } from "./cli/follow-changes.ts";
import { checkAddress, checkDataDir, startFailure } from "./cli/start-failure.ts";
import type { GatewayStores } from "./composition/lasting-parts.ts";
import type { Settings } from "./config/settings.ts";
import type { Gateway } from "./gateway.ts";
import { isStoredService } from "./registry/stored-service.ts";
import { type DataDirLock, lockDataDir } from "./stores/data-dir-lock.ts";
import { openFileStores } from "./stores/open-stores.ts";

/** npm and terminals send a signal to the whole process group: within this many ms it is one and the same. */
const SAME_SIGNAL_MS = 1_000;

/** What a gateway is made of is loaded here: other commands need little of it. */
const gatewayRoom = () => import("./gateway.ts");

const exitCode = await runCommandLine(process.argv.slice(2), {
  start,
  diagnoseAtRest: async (config, options) => (await gatewayRoom()).diagnoseAtRest(config, options),
});
// What could not be written may have said something already.
if (exitCode !== 0) process.exitCode = exitCode;

/** @throws CliFailure */
async function start(): Promise<ExitCode> {
  const [{ openGateway }, { readConfiguration }] = await Promise.all([
    gatewayRoom(),
    import("./cli/read-configuration.ts"),
  ]);
  let lock: DataDirLock | undefined;
  try {
    const config = await readConfiguration();
    const { settings } = config;
    const warning = checkDataDir(settings.DATA_DIR);
    await checkAddress(settings.PORT, settings.HOST);
    lock = await lockDataDir(settings.DATA_DIR);
    const stores: GatewayStores = await openFileStores(settings.DATA_DIR, isStoredService, isStoredKey);
    const gateway = await openGateway(config, { load: () => readConfiguration(), stores });
    // Before it says that it listens: whoever reads that may send a signal at once.
    endOnSignal(gateway, lock, settings);
    followChanges(gateway);
    if (warning !== undefined) gateway.logger.warn(warning);
    describeStart(gateway);
    void announceUpdate(gateway);
    return 0;
  } catch (error) {
    await lock?.release();
    throw startFailure(error);
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
