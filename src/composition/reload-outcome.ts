/** What a reload changed, or why it changed nothing: for the log, and for whoever asked for it. */
import { isDeepStrictEqual } from "node:util";
import type { Settings } from "../config/settings.ts";

export type ReloadOutcome =
  | {
      readonly isDone: true;
      /** Keys of services. */
      readonly added: readonly string[];
      readonly changed: readonly string[];
      readonly removed: readonly string[];
      /** Variables whose new value takes a restart. */
      readonly needsRestart: readonly string[];
      readonly warnings: readonly string[];
    }
  | { readonly isDone: false; readonly problems: readonly string[] };

/** As much of a generation as is compared. */
export interface Comparable {
  readonly config: { readonly settings: Readonly<Settings> };
  readonly warnings: readonly string[];
  /** Services by key: taken over as they are, or made anew. */
  readonly upstreams: ReadonlyMap<string, unknown>;
}

/** Read once, when the process starts. */
const FIXED = [
  ...["HOST", "PORT", "MANAGEMENT_HOST", "MANAGEMENT_PORT", "DATA_DIR", "ECHO_SERVICE", "WATCH_CONFIG"],
  ...["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS", "MAX_IN_FLIGHT", "MAX_WEBSOCKETS"],
  ...["HEADERS_TIMEOUT", "SEND_TIMEOUT", "KEEP_ALIVE_TIMEOUT", "SHUTDOWN_DELAY", "SHUTDOWN_TIMEOUT"],
  ...["PRESSURE_SAMPLE_INTERVAL", "PRESSURE_MAX_EVENT_LOOP_DELAY", "PRESSURE_MAX_HEAP_USED_BYTES"],
  ...["PRESSURE_MAX_RSS_BYTES", "PRESSURE_MAX_EVENT_LOOP_UTILIZATION", "PRESSURE_RETRY_AFTER"],
  ...["LOG_LEVEL", "LOGGING_ENABLED", "LOG_FORMAT", "ACCESS_LOG"],
] as const;

export function compareGenerations(before: Comparable, after: Comparable): ReloadOutcome {
  const keysOf = ({ upstreams }: Comparable) => [...upstreams.keys()];
  return {
    isDone: true,
    added: keysOf(after).filter((key) => !before.upstreams.has(key)),
    changed: keysOf(after).filter(
      (key) => before.upstreams.has(key) && before.upstreams.get(key) !== after.upstreams.get(key),
    ),
    removed: keysOf(before).filter((key) => !after.upstreams.has(key)),
    needsRestart: FIXED.filter((name) => !isDeepStrictEqual(settingOf(before, name), settingOf(after, name))),
    warnings: after.warnings,
  };
}

function settingOf({ config }: Comparable, name: string): unknown {
  return (config.settings as Readonly<Record<string, unknown>>)[name];
}
