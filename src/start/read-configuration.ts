/**
 * Reads the configuration of this folder, and whether DATA_DIR holds an issued key: such a key protects the proxy plane as
 * PROXY_API_KEY does.
 */

import { isStoredKey } from "../callers/issued-key.ts";
import { compilePermissions } from "../callers/permissions.ts";
import { listenAddresses } from "../config/hosts.ts";
import { type Config, type ConfigOptions, loadConfig } from "../config/load-config.ts";
import { readStoredKeys } from "../stores/open-stores.ts";

/** What the command line says about the configuration. */
export type StartOptions = Pick<ConfigOptions, "commandLine" | "onlyService">;

/** @throws ConfigProblems, or StateFileUnusable for stored keys that cannot be read. */
export function readConfiguration(options: StartOptions = {}): Promise<Config> {
  return loadConfig({ ...options, hasIssuedKey });
}

/** Revoked and expired keys count too: the plane must not open because its last key was revoked. */
export function hasIssuedKey(dataDir: string): boolean {
  return readStoredKeys(dataDir, isStoredKey).some(({ permissions }) => compilePermissions(permissions).hasProxy);
}

/** The addresses on which the next start will listen. The gateway never dials its own addresses, even before it runs. */
export function nextListeners({ settings: { HOST, PORT }, managementListener, services }: Config) {
  const main = { host: HOST, port: PORT };
  return [
    main,
    ...(managementListener === undefined ? [] : [managementListener]),
    ...[...services.values()].flatMap(({ port }) => (port === undefined ? [] : { host: "localhost", port })),
  ].flatMap(({ host, port }) => listenAddresses(host).map((address) => ({ address, port })));
}
