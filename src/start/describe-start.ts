/**
 * Logs what a start has done: the addresses, the files it read, the services, what protects them, and commands to try.
 * Invariant: fewer than 15 lines, besides the warnings.
 */
import { basename, relative } from "node:path";
import { type Color, type Paint, paintFor } from "../colors.ts";
import { nameMissing } from "../config/credential-source.ts";
import { credentialState } from "../config/credentials.ts";
import { proxyUrlFor, proxyUseOf } from "../config/egress-proxy.ts";
import type { Config } from "../config/load-config.ts";
import { isFromRest, type Service } from "../config/schema.ts";
import { isInUse } from "../diagnostics/check.ts";
import { findContainer } from "../diagnostics/listen.ts";
import type { Gateway } from "../gateway.ts";
import { plural } from "../plural.ts";
import type { Logger } from "../telemetry/logger.ts";
import { version } from "../version.ts";

export function describeStart(gateway: Gateway): void {
  const { config, warnings, url, urls, managementUrl, logger } = gateway;
  logWarnings(logger, warnings);
  const start = {
    config,
    services: gateway.services(),
    url,
    urls,
    managementUrl,
    hasIssuedKeys: gateway.issuedKeys.counts.proxy > 0,
    isInContainer: findContainer(),
  };
  if (logger.isForTerminal) {
    logger.flush();
    process.stdout.write(`${startScreen(start, paintFor(process.stdout)).join("\n")}\n`);
  } else for (const line of startLines(start)) logger.info(line);
}

const WARNINGS_LIMIT = 100;

/** With thousands of services, only the first warnings are logged. */
export function logWarnings(logger: Pick<Logger, "warn">, warnings: readonly string[]): void {
  for (const warning of warnings.slice(0, WARNINGS_LIMIT)) logger.warn(warning);
  const more = warnings.length - WARNINGS_LIMIT;
  if (more > 0) {
    logger.warn(`${plural(more, "more warning")}: the check config of GET /manage/diagnostics lists all warnings`);
  }
}

/** Runs in the background: a check that fails is not reported. */
export async function announceUpdate({ checkForUpdate, logger }: Gateway): Promise<void> {
  const { latest, updateAvailable } = await checkForUpdate();
  if (updateAvailable) logger.info(`ByteProxy ${latest} is available; this is ${version.version}`);
}

export interface Start {
  readonly config: Config;
  readonly services: readonly Service[];
  readonly url: string;
  /** If there are several. */
  readonly urls?: readonly string[];
  readonly managementUrl?: string | undefined;
  /** Issued keys for the proxy plane: they protect it without PROXY_API_KEY. */
  readonly hasIssuedKeys?: boolean;
  /** Clients outside of the container cannot reach a loopback address in it. */
  readonly isInContainer?: boolean;
}

export function startLines(start: Start): string[] {
  const { config, services, url, urls = [url], managementUrl, isInContainer = false } = start;
  const { proxy, management } = protections(start);
  return [
    `ByteProxy ${version.version} listens on ${urls.join(" and ")}`,
    ...(config.isLoopback && isInContainer ? [containerWarning(config)] : []),
    ...(managementUrl === undefined ? [] : [secondListener(managementUrl)]),
    `Read: ${filesRead(config)}`,
    ...(config.settings.EGRESS_PROXY === undefined ? [] : [`Egress proxy: ${config.settings.EGRESS_PROXY.url}`]),
    ...(config.settings.REDIS_URL === undefined ? [] : [describeSharedLimits(config.settings.REDIS_URL)]),
    `Services: ${withLimit(services.map(describeService))}`,
    `/proxy/* ${proxy}`,
    `/manage/* ${management}`,
    ...commandsToTry(start).map((command) => `Try: ${command}`),
  ];
}

function describeSharedLimits({ host, port, isTls }: NonNullable<Config["settings"]["REDIS_URL"]>): string {
  return `Shared rate limits: Redis at ${host.includes(":") ? `[${host}]` : host}:${port}${isTls ? " (TLS)" : ""}`;
}

/** Rows of the table; more services are counted. */
const ROWS_LIMIT = 5;

/** For a terminal: the same in fewer than 15 lines, as a table. */
export function startScreen(start: Start, paint: Paint): string[] {
  const { config, services, url, urls = [url], managementUrl, isInContainer = false } = start;
  const addresses = config.settings.HOST === "localhost" ? [localUrl(start)] : urls;
  const { proxy, management } = protections(start);
  // Built-in services that are not in use come last.
  const ordered = [...services].sort((a, b) => Number(!isInUse(a)) - Number(!isInUse(b)));
  const shown = services.length > ROWS_LIMIT ? ordered.slice(0, ROWS_LIMIT - 1) : ordered;
  const rows = shown.map((service) => [service.key, describeCredential(service), originOf(service, config)] as const);
  const widths = [0, 1].map((column) => Math.max(10, ...rows.map((row) => (row[column] as string).length)));
  const aligned = ([key, credential, origin]: readonly [string, string, string]) =>
    `  ${paint("bold", key.padEnd(widths[0] as number))}  ${paint(colorOfCredential(credential), credential.padEnd(widths[1] as number))}  ${paint("dim", origin)}`;
  const more = services.length - shown.length;
  const commands = commandsToTry(start);
  return [
    `${paint("bold", "ByteProxy")} ${version.version}  ${paint("bold", paint("cyan", addresses.join("  ")))}`,
    ...(config.isLoopback && isInContainer ? [paint("yellow", containerWarning(config))] : []),
    ...(managementUrl === undefined ? [] : [secondListener(managementUrl)]),
    ...rows.map(aligned),
    ...(more > 0 ? [`  and ${plural(more, "more service")}: npx byteproxy services list`] : []),
    `  ${paint("dim", "/proxy/*")}   ${proxy}`,
    `  ${paint("dim", "/manage/*")}  ${management}`,
    `  ${paint("dim", "read")}       ${filesRead(config)}`,
    ...commands.map((command, i) => `  ${paint("green", i === 0 ? "try" : "   ")}        ${command}`),
  ];
}

function colorOfCredential(text: string): Color {
  if (text.startsWith("off")) return "yellow";
  return text === CREDENTIAL_READY ? "green" : "dim";
}

function originOf(service: Service, { settings }: Config): string {
  const upstream = service.embedded ? "built in" : new URL(service.baseUrl).origin;
  const proxy = proxyUrlFor(proxyUseOf(service.egressProxy, isFromRest(service.source), settings), service.baseUrl);
  const through = proxy === undefined || service.embedded ? [] : [`through ${proxy}`];
  return [upstream, ...addressesOf(service), ...through].join("  ");
}

const secondListener = (url: string) => `/manage, /status, /metrics and /docs are served on ${url} only`;

/** What each plane needs. */
function protections(start: Start): { readonly proxy: string; readonly management: string } {
  const { config, services, hasIssuedKeys = false } = start;
  const needsKey = needsProxyKey(start);
  const shared = `PROXY_API_KEY${hasIssuedKeys ? ", or an issued key" : ""}`;
  const proxyKey = config.proxyPlane.key === undefined ? "an issued key" : shared;
  const proxy = needsKey ? `needs ${proxyKey}` : protection(false, "PROXY_API_KEY", config);
  return {
    proxy: `${proxy}${publicServices(services, needsKey)}`,
    management: protection(config.managementPlane.isProtected, "MANAGEMENT_API_KEY", config),
  };
}

function needsProxyKey({ config: { proxyPlane }, hasIssuedKeys = false }: Start): boolean {
  return proxyPlane.isProtected || (hasIssuedKeys && !proxyPlane.isOpen);
}

/** As a client on this machine writes it. */
function localUrl({ url, config }: Start): string {
  if (config.settings.HOST === "localhost") return url.replace(/\/\/(?:127\.0\.0\.1|\[::1\])/, "//localhost");
  return url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]");
}

/** Three commands that work in another terminal. */
function commandsToTry(start: Start): string[] {
  const { config, services } = start;
  const local = localUrl(start);
  const header = needsProxyKey(start) ? ` -H "Authorization: Bearer ${shellKey(config)}"` : "";
  const hasEcho = services.some(({ key }) => key === "echo");
  const example = hasEcho ? "echo/hello?x=1" : `${services[0]?.key ?? "echo"}/`;
  return [`curl ${local}/health`, `curl${header} '${local}/proxy/${example}'`, `curl${header} ${local}/proxy/services`];
}

/** How a shell gets the proxy key, from where the gateway read it. The key itself is never printed. */
export function shellKey({
  proxyPlane,
  variables,
  envFiles,
}: Pick<Config, "proxyPlane" | "variables" | "envFiles">): string {
  if (proxyPlane.key === undefined) return "$KEY";
  const set = variables.known.find(({ name }) => name === "PROXY_API_KEY" || name === "PROXY_API_KEY_FILE");
  if (set?.name === "PROXY_API_KEY_FILE") return '$(cat "$PROXY_API_KEY_FILE")';
  const file = envFiles.find(({ path }) => basename(path) === set?.origin)?.path;
  return file === undefined ? "$PROXY_API_KEY" : `$(sed -n 's/^PROXY_API_KEY=//p' '${file}')`;
}

/** The second listener may be on an address that clients outside of the container can reach. */
function containerWarning({ managementListener: second }: Config): string {
  const hidden = second === undefined || second.isLoopback ? "the gateway" : "/proxy";
  return `HOST is a loopback address inside a container: clients outside of it cannot reach ${hidden}; set HOST=0.0.0.0 to allow them`;
}

/** More services than this are counted, not named. */
const NAMED_LIMIT = 20;

function withLimit(names: readonly string[]): string {
  const more = names.length > NAMED_LIMIT ? `, and ${names.length - NAMED_LIMIT} more` : "";
  return names.slice(0, NAMED_LIMIT).join(", ") + more;
}

function describeService(service: Service): string {
  return `${service.key} (${[describeCredential(service), ...addressesOf(service), ...ownProxyOf(service)].join(", ")})`;
}

/** Where it differs from EGRESS_PROXY. */
function ownProxyOf({ egressProxy }: Service): string[] {
  if (egressProxy === undefined) return [];
  return [egressProxy === false ? "without the egress proxy" : `through ${egressProxy}`];
}

/** Where a service is reachable, besides /proxy/<key>. */
const addressesOf = ({ hosts, port }: Service) => [...hosts, ...(port === undefined ? [] : [`port ${port}`])];

const CREDENTIAL_READY = "credential ready";

function describeCredential(service: Service): string {
  const source = nameMissing(service.credential);
  switch (credentialState(service)) {
    case "none":
      return "needs no credential";
    case "present":
      return CREDENTIAL_READY;
    case "pending":
      return `credential by ${source}, which runs at the first request`;
    case "missing":
      if (service.credential?.withheld !== undefined) return "its secret is locked, see the warning";
      if (source === "login") return `off: byteproxy login ${service.key}`;
      return service.auth?.required ? `off: set ${source}` : `without ${source}`;
  }
}

function protection(isProtected: boolean, variable: string, config: Config): string {
  if (isProtected) return `needs ${variable}`;
  return config.isLoopback
    ? `is open to this machine (set ${variable} to protect it)`
    : `is OPEN TO EVERY CLIENT that reaches this address (set ${variable} to protect it)`;
}

/** Services that need no key while the others do. */
function publicServices(services: readonly Service[], needsKey: boolean): string {
  const open = services
    .filter(({ access }) => access !== "key")
    .map(({ key, access }) => (access === "signature" ? `${key} (needs a signature)` : key));
  return needsKey && open.length > 0 ? `, except ${withLimit(open)}` : "";
}

function filesRead({ envFiles, configFile, settings: { MIDDLEWARE_PATH } }: Config): string {
  const hooks = MIDDLEWARE_PATH === undefined ? [] : [{ path: MIDDLEWARE_PATH, state: "user hooks" }];
  return [...envFiles, configFile, ...hooks].map(({ path, state }) => `${relative("", path)} (${state})`).join(", ");
}
