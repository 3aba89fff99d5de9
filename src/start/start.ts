/**
 * Starts the gateway of this folder: reads the configuration, locks DATA_DIR, opens the stores and the listeners.
 * Invariant: a start that fails releases DATA_DIR, and throws a CliFailure for everything that the operator can fix.
 */
import { isStoredKey } from "../callers/issued-key.ts";
import type { GatewayStores } from "../composition/gateway-options.ts";
import { type Gateway, openGateway } from "../gateway.ts";
import { isStoredService } from "../services/stored-services.ts";
import { type DataDirLock, lockDataDir } from "../stores/data-dir-lock.ts";
import { openFileStores } from "../stores/open-stores.ts";
import { checkDataDir } from "./check-data-dir.ts";
import { announceUpdate, describeStart } from "./describe-start.ts";
import { followChanges } from "./follow-changes.ts";
import { readConfiguration, type StartOptions } from "./read-configuration.ts";
import { checkAddress, startFailure } from "./start-failure.ts";

/**
 * @param onOpen runs before the log says that the gateway listens: a process that reads that line may send a signal at once.
 * @param options of the command line.
 * @throws CliFailure
 */
export async function start(
  onOpen: (gateway: Gateway, lock: DataDirLock) => void,
  options: StartOptions = {},
): Promise<void> {
  let lock: DataDirLock | undefined;
  try {
    const config = await readConfiguration(options);
    const { DATA_DIR, PORT, HOST } = config.settings;
    const dirWarnings = checkDataDir(DATA_DIR);
    await checkAddress(PORT, HOST);
    lock = await lockDataDir(DATA_DIR);
    const stores: GatewayStores = await openFileStores(DATA_DIR, isStoredService, isStoredKey);
    const gateway = await openGateway(config, { load: () => readConfiguration(options), stores });
    onOpen(gateway, lock);
    followChanges(gateway);
    for (const warning of dirWarnings) gateway.logger.warn(warning);
    describeStart(gateway);
    void announceUpdate(gateway);
  } catch (error) {
    await lock?.release();
    throw startFailure(error);
  }
}
