/**
 * What a start in this folder would meet, looked at without starting: for when the gateway does not.
 * Invariant: the configuration is read as a start reads it; DATA_DIR is looked at without its lock, and nothing is written to it
 * that stays.
 */
import { isStoredKey } from "../callers/stored-key.ts";
import type { GatewayOptions, GatewayStores } from "../composition/lasting-parts.ts";
import { type Config, ConfigProblems, type ConfigReading, readConfig } from "../config/load-config.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import { checksSkippedOffline } from "../diagnostics/diagnostics.ts";
import type { RestingGateway } from "../gateway.ts";
import { isStoredService } from "../registry/stored-service.ts";
import { findDataDirHolder } from "../stores/data-dir-lock.ts";
import { createMemoryStores, lookAtFileStores } from "../stores/open-stores.ts";
import { StateFileUnusable } from "../stores/state-file.ts";
import { CliFailure } from "./cli-failure.ts";
import { nextListeners } from "./next-listeners.ts";
import { hasIssuedKey } from "./read-configuration.ts";
import { explainStartFailure, findAddressObstacle } from "./start-failure.ts";

/** Builds a gateway's parts and looks at them: it comes from where gateways are made. @throws ConfigProblems */
export type DiagnoseAtRest = (
  config: Config,
  options: GatewayOptions & { readonly offline: OfflineState },
) => Promise<RestingGateway>;

export interface ChecksAtRest extends RestingGateway {
  /** Ids of the checks that need a gateway that runs, or a configuration that is sound. */
  readonly leftOut: readonly string[];
}

/** @throws CliFailure for what kept the checks themselves from being run. */
export async function checkAtRest(diagnose: DiagnoseAtRest): Promise<ChecksAtRest> {
  const reading = await readAtRest();
  try {
    return await checkReading(reading, diagnose);
  } catch (error) {
    // A service that was stored and is none any more keeps a start from serving, as a problem of the file does.
    if (error instanceof ConfigProblems) return checkReading({ ...reading, problems: error.problems }, diagnose);
    const words = explainStartFailure(error);
    throw words === undefined ? error : new CliFailure(1, [words]);
  }
}

interface ReadAtRest extends ConfigReading {
  /** What could not be read of DATA_DIR. */
  readonly stateProblem: string | undefined;
}

async function readAtRest(): Promise<ReadAtRest> {
  let stateProblem: string | undefined;
  const reading = await readConfig({
    hasIssuedKey(dataDir) {
      try {
        return hasIssuedKey(dataDir);
      } catch (error) {
        stateProblem = unusable(error);
        // Whether there is one is not known: that is no problem of the configuration's.
        return true;
      }
    },
  });
  return { ...reading, stateProblem };
}

async function checkReading(reading: ReadAtRest, diagnose: DiagnoseAtRest): Promise<ChecksAtRest> {
  const { config, problems } = reading;
  const { settings, managementListener: second } = config;
  const isValid = problems.length === 0;
  const { stores, problem } = lookAtStores(settings.DATA_DIR, isValid);
  const listeners = [{ host: settings.HOST, port: settings.PORT }, ...(second === undefined ? [] : [second])];
  const offline: OfflineState = {
    isValid,
    listeners: nextListeners(config),
    stateProblem: reading.stateProblem ?? problem,
    findStateHolder: () => findDataDirHolder(settings.DATA_DIR),
    async findAddressObstacle() {
      const found = [];
      for (const { port, host } of listeners) found.push(await findAddressObstacle(port, host));
      return found.find((words) => words !== undefined);
    },
  };
  const load = async () => {
    if (!isValid) throw new ConfigProblems(problems);
    return config;
  };
  return { ...(await diagnose(config, { stores, load, offline })), leftOut: checksSkippedOffline(offline) };
}

/** @param isValid otherwise what is stored is of no use: it is read by the configuration. */
function lookAtStores(
  folder: string,
  isValid: boolean,
): { readonly stores: GatewayStores; readonly problem: string | undefined } {
  const empty = (): GatewayStores => ({ ...createMemoryStores(), folder });
  try {
    const stores: GatewayStores = lookAtFileStores(folder, isStoredService, isStoredKey);
    return { stores: isValid ? stores : empty(), problem: undefined };
  } catch (error) {
    return { stores: empty(), problem: unusable(error) };
  }
}

/** @throws what it is given, where that is none of those. */
function unusable(error: unknown): string {
  if (error instanceof StateFileUnusable) return error.message;
  throw error;
}
