/**
 * Runs the checks on what a start in this folder would use, without starting: for a gateway that does not run.
 * Invariant: the configuration is read as a start reads it. DATA_DIR is read without its lock, and no change to it remains.
 */
import { isStoredKey } from "../callers/issued-key.ts";
import type { GatewayStores } from "../composition/gateway-options.ts";
import { ConfigProblems, type ConfigReading, readConfig } from "../config/load-config.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import { checksSkippedOffline } from "../diagnostics/diagnostics.ts";
import { diagnoseOffline, type OfflineDiagnosis } from "../gateway.ts";
import { isStoredService } from "../services/stored-services.ts";
import { findDataDirHolder } from "../stores/data-dir-lock.ts";
import { createMemoryStores, readFileStores } from "../stores/open-stores.ts";
import { StateFileUnusable } from "../stores/state-file.ts";
import { hasIssuedKey, nextListeners } from "./read-configuration.ts";
import { findAddressObstacle, startFailure } from "./start-failure.ts";

export interface StartDiagnosis extends OfflineDiagnosis {
  /** Ids of the checks that need a running gateway, or a valid configuration. */
  readonly leftOut: readonly string[];
}

/** @throws CliFailure when the checks themselves could not run. */
export async function diagnoseStart(): Promise<StartDiagnosis> {
  const reading = await readFolder();
  try {
    return await diagnoseReading(reading);
  } catch (error) {
    // A stored service that is not valid any more prevents a start, as a problem in the services file does.
    if (error instanceof ConfigProblems) return diagnoseReading({ ...reading, problems: error.problems });
    throw startFailure(error);
  }
}

interface FolderReading extends ConfigReading {
  /** Why DATA_DIR could not be read. */
  readonly stateProblem: string | undefined;
}

async function readFolder(): Promise<FolderReading> {
  let stateProblem: string | undefined;
  const reading = await readConfig({
    hasIssuedKey(dataDir) {
      try {
        return hasIssuedKey(dataDir);
      } catch (error) {
        stateProblem = messageOfUnusable(error);
        // Unknown: reported as a problem of DATA_DIR, so it must not be one of the configuration too.
        return true;
      }
    },
  });
  return { ...reading, stateProblem };
}

async function diagnoseReading({ config, problems, stateProblem }: FolderReading): Promise<StartDiagnosis> {
  const { settings, managementListener: second } = config;
  const isValid = problems.length === 0;
  const { stores, problem } = readStores(settings.DATA_DIR, isValid);
  const listeners = [{ host: settings.HOST, port: settings.PORT }, ...(second === undefined ? [] : [second])];
  const offline: OfflineState = {
    isValid,
    listeners: nextListeners(config),
    stateProblem: stateProblem ?? problem,
    findStateHolder: () => findDataDirHolder(settings.DATA_DIR),
    async findAddressObstacle() {
      const found = [];
      for (const { port, host } of listeners) found.push(await findAddressObstacle(port, host));
      for (const { key, port } of config.services.values()) {
        if (port !== undefined) found.push(await findAddressObstacle(port, "localhost", key));
      }
      return found.find((obstacle) => obstacle !== undefined);
    },
  };
  const load = async () => {
    if (!isValid) throw new ConfigProblems(problems);
    return config;
  };
  return { ...(await diagnoseOffline(config, { stores, load, offline })), leftOut: checksSkippedOffline(offline) };
}

interface StoresReading {
  readonly stores: GatewayStores;
  readonly problem: string | undefined;
}

/** @param isValid otherwise the stores are left empty: stored services are read against the configuration. */
function readStores(folder: string, isValid: boolean): StoresReading {
  const empty = (): GatewayStores => ({ ...createMemoryStores(), folder });
  try {
    // Read in both cases, to report files that cannot be used.
    const stores: GatewayStores = readFileStores(folder, isStoredService, isStoredKey);
    return { stores: isValid ? stores : empty(), problem: undefined };
  } catch (error) {
    return { stores: empty(), problem: messageOfUnusable(error) };
  }
}

/** @throws any error that is not a StateFileUnusable. */
function messageOfUnusable(error: unknown): string {
  if (error instanceof StateFileUnusable) return error.message;
  throw error;
}
