/**
 * Puts the configuration together: variables, keys, services, from every source there is.
 * Invariant: either one deeply frozen Config, or a ConfigProblems with every problem at once.
 */
import { relative } from "node:path";
import { Yielder } from "../yielder.ts";
import { completeService } from "./complete-service.ts";
import { type Environment, type EnvironmentOptions, readEnvironment } from "./env.ts";
import { isLoopbackHost } from "./hosts.ts";
import { type KnownVariable, type MisspeltVariable, reviewVariables } from "./known-variables.ts";
import { type PlaneConfig, protectPlanes } from "./planes.ts";
import { ConfigProblems } from "./problems.ts";
import { readSettings, variablePlace } from "./read-settings.ts";
import { createRuntimeServiceReader, type RuntimeServiceReader } from "./runtime-service.ts";
import type { Service } from "./schema.ts";
import { type DefinedService, readServicesFile } from "./services-file.ts";
import type { Settings } from "./settings.ts";

export { ConfigProblems };

export interface EnvFile {
  readonly path: string;
  readonly state: "read" | "absent";
}

export interface Config {
  /** When its files began to be read, ms since the epoch. */
  readonly readAt: number;
  /** DATA_DIR and CONFIG_FILE as absolute paths. */
  readonly settings: Readonly<Settings>;
  readonly proxyPlane: PlaneConfig;
  readonly managementPlane: PlaneConfig;
  /** HOST is a loopback address or name. */
  readonly isLoopback: boolean;
  /** Undefined while one listener serves all. */
  readonly managementListener:
    | { readonly host: string; readonly port: number; readonly isLoopback: boolean }
    | undefined;
  /** Presets and the services of the file, by key. */
  readonly services: ReadonlyMap<string, Service>;
  /** The same as they are written. */
  readonly definitions: ReadonlyMap<string, DefinedService>;
  /** Makes a service of what came over REST, with these settings, variables and locks. */
  readonly readRuntimeService: RuntimeServiceReader;
  readonly configFile: { readonly path: string; readonly state: "read" | "absent" | "empty" };
  readonly envFiles: readonly EnvFile[];
  readonly variables: { readonly known: readonly KnownVariable[]; readonly misspelt: readonly MisspeltVariable[] };
  readonly warnings: readonly string[];
}

export interface ConfigOptions extends EnvironmentOptions {
  /** Whether a key for callers was issued in this DATA_DIR; asked only where nothing else protects the plane. */
  readonly hasIssuedKey?: (dataDir: string) => boolean;
}

/** Reads everything; relative paths are taken from `directory`. @throws ConfigProblems, and what `hasIssuedKey` throws. */
export async function loadConfig(options: ConfigOptions = {}): Promise<Config> {
  const { config, problems } = await readConfig(options);
  if (problems.length > 0) throw new ConfigProblems(problems);
  return config;
}

/** Reads the configuration as it is now. @throws ConfigProblems */
export type LoadConfig = () => Promise<Config>;

export interface ConfigReading {
  /** With defaults in the place of what was refused, and without the services that were: nobody may be served by it. */
  readonly config: Config;
  /** None, where it is sound. */
  readonly problems: readonly string[];
}

/** For the checks that report what keeps a gateway from starting. @throws what `hasIssuedKey` throws. */
export async function readConfig({
  directory = process.cwd(),
  hasIssuedKey = () => false,
  ...sources
}: ConfigOptions = {}): Promise<ConfigReading> {
  const readAt = Date.now();
  const environment = readEnvironment({ ...sources, directory });
  const problems = [...environment.problems];
  const warnings = [...environment.warnings];

  const { settings, refused } = readSettings(environment.variables, directory, problems);
  const planes = protectPlanes({
    ...{ settings, refused, variables: environment.variables, problems, warnings },
    hasIssuedKey: () => hasIssuedKey(settings.DATA_DIR),
  });
  const managementListener = readManagementListener(settings, environment, problems);
  reviewCors(settings, environment, problems);
  if (!settings.STRICT_TLS) warnings.push("STRICT_TLS is false: certificates of upstreams are not verified");

  const isLoopback = isLoopbackHost(settings.HOST);
  const configFile = environment.variables.get("CONFIG_FILE");
  const file = await readServicesFile({
    path: settings.CONFIG_FILE,
    shownPath: shownPath(directory, settings.CONFIG_FILE),
    namedBy: configFile && variablePlace("CONFIG_FILE", configFile),
    hasEcho: settings.ECHO_SERVICE ?? isLoopback,
  });
  problems.push(...file.problems);
  const ownKeys = [planes.proxyPlane.key, planes.managementPlane.key].filter((key) => key !== undefined);
  const { variables } = environment;
  const context = { settings, variables, directory, ownKeys };
  const services = new Map<string, Service>();
  const yielder = new Yielder();
  for (const defined of file.services) {
    const completed = completeService(defined, context);
    services.set(defined.key, deepFreeze(completed.service));
    deepFreeze(defined);
    problems.push(...completed.problems.map(file.describe));
    warnings.push(...completed.warnings.map(file.describe));
    if (yielder.isDue) await yielder.yield();
  }

  const definitions = frozenMap(new Map(file.services.map((defined) => [defined.key, defined])));
  const config = freezeConfig({
    readAt,
    settings,
    ...planes,
    isLoopback,
    managementListener,
    services,
    definitions,
    readRuntimeService: createRuntimeServiceReader(context, definitions),
    configFile: { path: settings.CONFIG_FILE, state: file.state },
    envFiles: environment.files.map(({ path, state }) => ({ path, state: state === "read" ? "read" : "absent" })),
    variables: reviewVariables(environment, settings, services.values()),
    warnings,
  });
  return { config, problems };
}

function readManagementListener(
  { HOST, PORT, MANAGEMENT_HOST, MANAGEMENT_PORT }: Settings,
  { variables }: Environment,
  problems: string[],
): Config["managementListener"] {
  if (MANAGEMENT_PORT === undefined) {
    const alone = variables.get("MANAGEMENT_HOST");
    if (alone !== undefined) {
      problems.push(`${variablePlace("MANAGEMENT_HOST", alone)}: found without MANAGEMENT_PORT, allowed: both or none`);
    }
    return undefined;
  }
  const host = MANAGEMENT_HOST ?? HOST;
  const variable = variables.get("MANAGEMENT_PORT");
  if (MANAGEMENT_PORT === PORT && PORT !== 0 && host === HOST && variable !== undefined) {
    problems.push(`${variablePlace("MANAGEMENT_PORT", variable)}: found the same as PORT, allowed: another port`);
  }
  return { host, port: MANAGEMENT_PORT, isLoopback: isLoopbackHost(host) };
}

/** The Fetch standard knows no `*` beside credentials: such an answer would be refused by every browser. */
function reviewCors(
  { CORS_CREDENTIALS, CORS_ORIGINS }: Settings,
  { variables }: Environment,
  problems: string[],
): void {
  if (!CORS_CREDENTIALS || !CORS_ORIGINS.includes("*")) return;
  const variable = variables.get("CORS_CREDENTIALS");
  const place = variable === undefined ? "CORS_CREDENTIALS" : variablePlace("CORS_CREDENTIALS", variable);
  problems.push(`${place}: found "true" beside * in CORS_ORIGINS, allowed: true with every origin by its name`);
}

/** The same configuration with these in the place of the services of their keys. */
export function withServices(config: Config, changed: Iterable<Service>): Config {
  const services = new Map(config.services);
  for (const service of changed) services.set(service.key, service);
  return freezeConfig({ ...config, services });
}

/** Deeply, the services and their map included. */
function freezeConfig(config: Config): Config {
  return deepFreeze<Config>({ ...config, services: frozenMap(new Map(config.services)) });
}

/** As the operator would write it: from the working folder where it lies in there. */
function shownPath(directory: string, path: string): string {
  const fromHere = relative(directory, path);
  return fromHere === "" || fromHere.startsWith("..") ? path : fromHere;
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  const members = value instanceof Map ? value.values() : Object.values(value);
  for (const member of members) deepFreeze(member);
  return value;
}

/** Object.freeze leaves the entries of a Map open. */
function frozenMap<K, V>(map: Map<K, V>): ReadonlyMap<K, V> {
  const refuse = () => {
    throw new TypeError("The configuration is frozen.");
  };
  return Object.assign(map, { set: refuse, delete: refuse, clear: refuse });
}
