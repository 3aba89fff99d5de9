/** What a reload changes, and what it must not do: for the log, and for the response to POST /manage/reload. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../config/load-config.ts";
import type { Settings } from "../config/settings.ts";

export type ReloadOutcome =
  | {
      readonly isDone: true;
      /** Keys of services. */
      readonly added: readonly string[];
      readonly changed: readonly string[];
      readonly removed: readonly string[];
      /** Variables with a new value that takes effect after a restart. */
      readonly needsRestart: readonly string[];
      readonly warnings: readonly string[];
    }
  | { readonly isDone: false; readonly problems: readonly string[] };

/** What is compared of a generation. */
export interface Comparable {
  readonly config: { readonly settings: Readonly<Settings> };
  readonly warnings: readonly string[];
  /** By key: the same object in both generations if the service did not change. */
  readonly upstreams: ReadonlyMap<string, unknown>;
}

/** Settings that are read once, when the process starts. */
const FIXED: readonly (keyof Settings)[] = [
  "HOST",
  "PORT",
  "MANAGEMENT_HOST",
  "MANAGEMENT_PORT",
  "TLS_CERT_FILE",
  "TLS_KEY_FILE",
  "TLS_CLIENT_CA_FILE",
  "DATA_DIR",
  "REDIS_URL",
  "REDIS_PREFIX",
  "ECHO_SERVICE",
  "WATCH_CONFIG",
  "MAX_CONNECTIONS",
  "MAX_CONNECTIONS_PER_ADDRESS",
  "MAX_IN_FLIGHT",
  "MAX_WEBSOCKETS",
  "HEADERS_TIMEOUT",
  "SEND_TIMEOUT",
  "KEEP_ALIVE_TIMEOUT",
  "SHUTDOWN_DELAY",
  "SHUTDOWN_TIMEOUT",
  "PRESSURE_SAMPLE_INTERVAL",
  "PRESSURE_MAX_EVENT_LOOP_DELAY",
  "PRESSURE_MAX_HEAP_USED_BYTES",
  "PRESSURE_MAX_RSS_BYTES",
  "PRESSURE_MAX_EVENT_LOOP_UTILIZATION",
  "PRESSURE_RETRY_AFTER",
  "LOG_LEVEL",
  "LOGGING_ENABLED",
  "LOG_FORMAT",
  "ACCESS_LOG",
];

/** @param certificateProblem why the listener keeps its certificate. */
export function compareGenerations(before: Comparable, after: Comparable, certificateProblem?: string): ReloadOutcome {
  const keysOf = ({ upstreams }: Comparable) => [...upstreams.keys()];
  const [old, next] = [before.config.settings, after.config.settings];
  return {
    isDone: true,
    added: keysOf(after).filter((key) => !before.upstreams.has(key)),
    changed: keysOf(after).filter(
      (key) => before.upstreams.has(key) && before.upstreams.get(key) !== after.upstreams.get(key),
    ),
    removed: keysOf(before).filter((key) => !after.upstreams.has(key)),
    needsRestart: FIXED.filter((name) => !isDeepStrictEqual(revealed(old[name]), revealed(next[name]))),
    warnings: [...(certificateProblem === undefined ? [] : [certificateProblem]), ...after.warnings],
  };
}

/** Two secrets are equal for isDeepStrictEqual, whatever their texts. */
function revealed(value: Settings[keyof Settings]): unknown {
  if (typeof value !== "object" || value === null || !("password" in value)) return value;
  return { ...value, password: value.password?.reveal() };
}

/** Why a valid configuration is not applied. @param addresses of the listeners since the start. */
export function findDangers(
  before: Config,
  next: Config,
  addresses: Pick<Config, "isLoopback" | "managementListener">,
): string[] {
  return [...findExposed(next, addresses), ...findMissingFile(before, next)];
}

/**
 * The routes that a configuration would leave open. It was checked against its own addresses, which take effect after a restart; what
 * counts for a reload is where the gateway has listened since the start.
 */
export function findExposed(
  { settings, proxyPlane, managementPlane }: Pick<Config, "settings" | "proxyPlane" | "managementPlane">,
  { isLoopback, managementListener }: Pick<Config, "isLoopback" | "managementListener">,
): string[] {
  if (settings.ALLOW_UNAUTHENTICATED) return [];
  const isManagementLoopback = managementListener?.isLoopback ?? isLoopback;
  return [
    ...(proxyPlane.isProtected || isLoopback ? [] : ["/proxy/*"]),
    ...(managementPlane.isProtected || isManagementLoopback ? [] : ["/manage/*"]),
  ].map((routes) => `${routes} would be unprotected on the address that the gateway has listened on since its start`);
}

/** A file that is absent or empty is more likely being written than intended: `{}` means no services. */
function findMissingFile({ configFile: before }: Config, { configFile: { path, state } }: Config): string[] {
  if (before.state !== "read" || before.path !== path || state === "read") return [];
  return [
    `${path}: found ${state === "empty" ? "an empty file" : "no file any more"}, allowed: JSON or YAML, {} for no services`,
  ];
}
