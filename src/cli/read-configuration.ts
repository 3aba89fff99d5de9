/**
 * The configuration as the commands read it: with a look at DATA_DIR, because a key that was issued protects the proxy plane as
 * PROXY_API_KEY does.
 */
import { compilePermissions } from "../callers/permissions.ts";
import { isStoredKey } from "../callers/stored-key.ts";
import { type Config, loadConfig } from "../config/load-config.ts";
import { peekStoredKeys } from "../stores/open-stores.ts";

/** @param commandLine variables that win over all others. @throws ConfigProblems, or StateFileUnusable for keys that cannot be read. */
export function readConfiguration(commandLine: Readonly<Record<string, string>> = {}): Promise<Config> {
  return loadConfig({ commandLine, hasIssuedKey });
}

/** For callers, in whatever state: a plane does not open because its last key was revoked. */
export function hasIssuedKey(dataDir: string): boolean {
  return peekStoredKeys(dataDir, isStoredKey).some(({ permissions }) => compilePermissions(permissions).hasProxy);
}
