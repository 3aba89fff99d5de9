/** The store that several gateways share, as the configuration of the start names it. */
import type { Config } from "../config/load-config.ts";
import { SharedCounters } from "../stores/shared-counters.ts";
import { SharedStore } from "../stores/shared-store.ts";
import type { Logger } from "../telemetry/logger.ts";

/** Both are undefined without REDIS_URL, and without a running gateway. */
export interface SharedParts {
  readonly sharedStore: SharedStore | undefined;
  readonly sharedCounters: SharedCounters | undefined;
}

/** It connects in the background. */
export function openSharedStore(
  { REDIS_URL: server, REDIS_PREFIX: prefix }: Config["settings"],
  logger: Pick<Logger, "info" | "warn">,
  isOffline: boolean,
): SharedParts {
  if (server === undefined || isOffline) return { sharedStore: undefined, sharedCounters: undefined };
  const sharedStore = new SharedStore({ server, prefix, logger });
  return { sharedStore, sharedCounters: new SharedCounters(sharedStore) };
}
