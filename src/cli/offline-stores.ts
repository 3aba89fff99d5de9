/**
 * What a command works on with `--offline`: the stores of DATA_DIR, the configuration beside them, and the same audit.
 * Invariant: it is held for as long as they are open; what is refused is refused in a gateway's words, as CliFailure.
 */
import { isStoredKey } from "../callers/stored-key.ts";
import type { GatewayStores } from "../composition/lasting-parts.ts";
import { type Config, loadConfig } from "../config/load-config.ts";
import { GatewayError } from "../errors.ts";
import { type Audit, createAudit } from "../registry/audit.ts";
import { isStoredService } from "../registry/stored-service.ts";
import { openFileStores } from "../stores/open-stores.ts";
import { createSecretMask } from "../telemetry/redact.ts";
import { type CliFailure, refused } from "./cli-failure.ts";
import { explained, holdDataDir } from "./offline-data-dir.ts";
import { remark } from "./output.ts";

/** As the audit shows whoever did it. */
export const AUTHOR = { caller: "command line", address: "", requestId: "" };

export interface OfflineStores {
  readonly config: Config;
  readonly stores: GatewayStores;
  readonly audit: Audit;
  /** Finishes what is being written and lets go of the folder. */
  close(): Promise<void>;
}

/** @throws CliFailure */
export async function openOfflineStores(): Promise<OfflineStores> {
  const config = await configuration();
  const folder = config.settings.DATA_DIR;
  const { content: stores, close } = await holdDataDir<GatewayStores>(folder, () =>
    openFileStores(folder, isStoredService, isStoredKey),
  );
  const audit = createAudit(
    stores.audit,
    { info() {}, error: () => remark("It is done, but the audit could not be written.") },
    createSecretMask(secretsOf(config)),
  );
  return { config, stores, audit, close };
}

async function configuration(): Promise<Config> {
  try {
    // What a start off loopback demands is what is being made here.
    return await loadConfig({ hasIssuedKey: () => true });
  } catch (error) {
    throw explained(error);
  }
}

function secretsOf({ services, proxyPlane, managementPlane }: Config): string[] {
  const credentials = [...services.values()].map(({ credential }) => credential?.secret);
  return [...credentials, proxyPlane.key, managementPlane.key].flatMap((secret) => secret?.reveal() ?? []);
}

/** @throws CliFailure in the place of a GatewayError. */
export async function inWords<T>(change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (error) {
    throw error instanceof GatewayError ? refusalOf(error) : error;
  }
}

/** In the form in which a gateway would have answered. */
function refusalOf({ code, title, message, status, hint, extra, cause }: GatewayError): CliFailure {
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code;
  const mend = code === "INTERNAL_ERROR" ? `Look at the space and the permissions of DATA_DIR (${reason}).` : hint;
  const { details } = extra as { readonly details?: unknown };
  return refused({ code, message, hint: mend, details }, { error: title, message, code, status, hint: mend, ...extra });
}
