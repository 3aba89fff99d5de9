/**
 * Loads the configuration: variables, keys and services from all sources.
 * Invariant: the result is one deeply frozen Config, or a ConfigProblems with all problems at once.
 */
import { relative } from "node:path";
import { Yielder } from "../yielder.ts";
import { commandEnvironment } from "./command-environment.ts";
import { completeService } from "./complete-service.ts";
import { type Environment, type EnvironmentOptions, readEnvironment } from "./env.ts";
import { isLoopbackHost, listenAddresses } from "./hosts.ts";
import { type KnownVariable, type MisspeltVariable, reviewVariables } from "./known-variables.ts";
import { type PlaneConfig, type Planes, protectPlanes, reviewMisspelt } from "./planes.ts";
import { ConfigProblems } from "./problems.ts";
import { reviewProxyVariables } from "./proxy-settings.ts";
import { readSettings, variablePlace } from "./read-settings.ts";
import { describeTaken, reviewOpenHosts } from "./review-addresses.ts";
import { createRuntimeServiceReader, type RuntimeServiceReader } from "./runtime-service.ts";
import type { Service } from "./schema.ts";
import type { Secret } from "./secret.ts";
import { ServiceAddresses } from "./service-addresses.ts";
import {
  type DefinedService,
  defineOnlyService,
  type FileState,
  type OnlyService,
  readServicesFile,
  type ServicesFile,
  type ServicesFileOptions,
  unreadSiblings,
} from "./services-file.ts";
import type { Settings } from "./settings.ts";
import type { TokenSettings } from "./token-settings.ts";
import { untrustedCommands } from "./trusted-file.ts";

export { ConfigProblems };

export interface EnvFile {
  readonly path: string;
  readonly state: "read" | "absent";
}

export interface Config {
  /** When the reading of its files began, ms since the epoch. */
  readonly readAt: number;
  /** DATA_DIR, CONFIG_FILE and MIDDLEWARE_PATH as absolute paths. */
  readonly settings: Readonly<Settings>;
  readonly proxyPlane: PlaneConfig;
  readonly managementPlane: PlaneConfig;
  /** Undefined if the proxy plane accepts no JSON Web Tokens. */
  readonly tokens: TokenSettings | undefined;
  /** HOST is a loopback address or name. */
  readonly isLoopback: boolean;
  /** The second listener; undefined if one listener serves all routes. */
  readonly managementListener:
    | { readonly host: string; readonly port: number; readonly isLoopback: boolean }
    | undefined;
  /** Presets and the services of the services file, by key. */
  readonly services: ReadonlyMap<string, Service>;
  /** The definitions of the same services. */
  readonly definitions: ReadonlyMap<string, DefinedService>;
  /** Makes a service from the input of a REST request, with these settings, variables and secret locks. */
  readonly readRuntimeService: RuntimeServiceReader;
  /** For the commands that print secrets. A function, so that nothing that prints a configuration prints an environment. */
  readonly commandContext: {
    readonly directory: string;
    readonly environment: () => Readonly<Record<string, string>>;
  };
  readonly configFile: { readonly path: string; readonly state: FileState };
  readonly envFiles: readonly EnvFile[];
  readonly variables: { readonly known: readonly KnownVariable[]; readonly misspelt: readonly MisspeltVariable[] };
  readonly warnings: readonly string[];
}

export interface ConfigOptions extends EnvironmentOptions {
  /** Whether DATA_DIR has a key that was issued for callers. Called only if nothing else protects the plane. */
  readonly hasIssuedKey?: (dataDir: string) => boolean;
  /** Served alone: the services file is not read, and no service is built in. */
  readonly onlyService?: OnlyService | undefined;
}

/** Relative paths are resolved from `directory`. @throws ConfigProblems, and what `hasIssuedKey` throws. */
export async function loadConfig(options: ConfigOptions = {}): Promise<Config> {
  const { config, problems } = await readConfig(options);
  if (problems.length > 0) throw new ConfigProblems(problems);
  return config;
}

/** Reads the current configuration. @throws ConfigProblems */
export type LoadConfig = () => Promise<Config>;

export interface ConfigReading {
  /** Refused values are replaced by defaults, and refused services are left out. Not for serving requests. */
  readonly config: Config;
  /** Empty for a valid configuration. */
  readonly problems: readonly string[];
}

/** For the checks that report what prevents a start. @throws what `hasIssuedKey` throws. */
export async function readConfig({
  directory = process.cwd(),
  hasIssuedKey = () => false,
  onlyService,
  ...sources
}: ConfigOptions = {}): Promise<ConfigReading> {
  const readAt = Date.now();
  const yielder = new Yielder();
  const environment = readEnvironment({ ...sources, directory });
  const problems = [...environment.problems];
  const { settings, refused } = readSettings(environment.variables, directory, problems);
  const configFile = { path: settings.CONFIG_FILE, shownPath: shownPath(directory, settings.CONFIG_FILE) };
  const siblings = onlyService === undefined ? unreadSiblings(configFile) : [];
  const warnings = [...environment.warnings, ...siblings];
  const planeSources = {
    settings,
    refused,
    variables: environment.variables,
    problems,
    warnings,
    hasIssuedKey: () => hasIssuedKey(settings.DATA_DIR),
  };
  const planes = protectPlanes(planeSources);
  const managementListener = readManagementListener(settings, environment, problems);
  reviewSettings(settings, environment, problems);
  if (!settings.STRICT_TLS) warnings.push("STRICT_TLS is false: certificates of upstreams are not verified");

  const isLoopback = isLoopbackHost(settings.HOST);
  const file = await readServices(onlyService, {
    ...configFile,
    namedBy: configFilePlace(environment),
    hasEcho: settings.ECHO_SERVICE ?? isLoopback,
    yielder,
  });
  problems.push(...file.problems, ...untrustedCommands(file.services, settings.CONFIG_FILE).map(file.describe));
  const ownKeys = ownKeysOf(planes, settings);
  const { variables } = environment;
  const context = { settings, variables, directory, ownKeys };
  const services = new Map<string, Service>();
  const addresses = new ServiceAddresses();
  for (const defined of file.services) {
    if (yielder.isDue) await yielder.yield();
    const completed = completeService(defined, context);
    const { service } = completed;
    services.set(defined.key, deepFreeze(service));
    deepFreeze(defined);
    problems.push(...[...completed.problems, ...describeTaken(service.key, addresses.add(service))].map(file.describe));
    warnings.push(...[...completed.warnings, ...reviewOpenHosts(service, settings, planes)].map(file.describe));
  }
  if (yielder.isDue) await yielder.yield();
  const reviewed = reviewVariables(environment, settings, services.values());
  reviewMisspelt(reviewed.misspelt, planes, planeSources);

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
    commandContext: { directory, environment: () => commandEnvironment(variables, ownKeys) },
    configFile: { path: settings.CONFIG_FILE, state: file.state },
    envFiles: environment.files.map(({ path, state }) => ({ path, state: state === "read" ? "read" : "absent" })),
    variables: reviewed,
    warnings: [...warnings, ...reviewProxyVariables(variables, services.values())],
  });
  return { config, problems };
}

async function readServices(only: OnlyService | undefined, options: ServicesFileOptions): Promise<ServicesFile> {
  return only === undefined ? readServicesFile(options) : defineOnlyService(only);
}

function ownKeysOf({ proxyPlane, managementPlane }: Planes, { JWT_SECRET, REDIS_URL }: Settings): Secret[] {
  const keys = [proxyPlane.key, managementPlane.key, JWT_SECRET, REDIS_URL?.password];
  // Most values contain a password of few characters.
  return keys.filter((key) => key !== undefined).filter((key) => key.reveal().length >= SHORTEST_OWN_KEY);
}

/** Characters. */
const SHORTEST_OWN_KEY = 8;

/** Undefined where no variable names the file. */
function configFilePlace({ variables }: Environment): string | undefined {
  const variable = variables.get("CONFIG_FILE");
  return variable && variablePlace("CONFIG_FILE", variable);
}

/** `localhost` is also 127.0.0.1. */
function isOverlapping(host: string, other: string): boolean {
  return listenAddresses(host).some((address) => listenAddresses(other).includes(address));
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
  if (MANAGEMENT_PORT === PORT && PORT !== 0 && isOverlapping(host, HOST) && variable !== undefined) {
    problems.push(`${variablePlace("MANAGEMENT_PORT", variable)}: found the same as PORT, allowed: another port`);
  }
  return { host, port: MANAGEMENT_PORT, isLoopback: isLoopbackHost(host) };
}

function reviewSettings(settings: Settings, environment: Environment, problems: string[]): void {
  reviewCors(settings, environment, problems);
  reviewTlsFiles(settings, environment, problems);
}

/** The Fetch standard forbids `*` with credentials: every browser would reject such a response. */
function reviewCors(
  { CORS_CREDENTIALS, CORS_ORIGINS }: Settings,
  { variables }: Environment,
  problems: string[],
): void {
  if (!CORS_CREDENTIALS || !CORS_ORIGINS.includes("*")) return;
  const variable = variables.get("CORS_CREDENTIALS");
  const place = variable === undefined ? "CORS_CREDENTIALS" : variablePlace("CORS_CREDENTIALS", variable);
  problems.push(
    `${place}: found "true" together with * in CORS_ORIGINS, allowed: true with each origin listed by name`,
  );
}

/** Only with both files does the listener serve HTTPS: with one of them it would serve plain HTTP, which the operator does not expect. */
function reviewTlsFiles(
  { TLS_CERT_FILE, TLS_KEY_FILE }: Settings,
  { variables }: Environment,
  problems: string[],
): void {
  const missing = [
    ...(TLS_CERT_FILE === undefined ? ["TLS_CERT_FILE"] : []),
    ...(TLS_KEY_FILE === undefined ? ["TLS_KEY_FILE"] : []),
  ];
  if (missing.length === 0) return;
  for (const name of ["TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE"] as const) {
    const variable = variables.get(name);
    if (variable === undefined) continue;
    problems.push(
      `${variablePlace(name, variable)}: found without ${missing.join(" and ")}, allowed: TLS_CERT_FILE and TLS_KEY_FILE together`,
    );
  }
}

/** The same configuration with some services replaced. */
export function withServices(config: Config, changed: Iterable<Service>): Config {
  const services = new Map(config.services);
  for (const service of changed) services.set(service.key, service);
  return freezeConfig({ ...config, services });
}

function freezeConfig(config: Config): Config {
  return deepFreeze<Config>({ ...config, services: frozenMap(new Map(config.services)) });
}

/** Relative to the working directory, if the file is in it. */
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

/** Object.freeze does not protect the entries of a Map. */
function frozenMap<K, V>(map: Map<K, V>): ReadonlyMap<K, V> {
  const refuse = () => {
    throw new TypeError("The configuration is frozen.");
  };
  return Object.assign(map, { set: refuse, delete: refuse, clear: refuse });
}
