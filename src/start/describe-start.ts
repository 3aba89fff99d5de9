/**
 * Logs what a start has done: the addresses, the files it read, the services, what protects them, and commands to try.
 * Invariant: fewer than 15 lines, besides the warnings.
 */
import { relative } from "node:path";
import { nameMissing } from "../config/credential-source.ts";
import { credentialState } from "../config/credentials.ts";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { findContainer } from "../diagnostics/listen.ts";
import type { Gateway } from "../gateway.ts";
import { plural } from "../plural.ts";
import type { Logger } from "../telemetry/logger.ts";
import { version } from "../version.ts";

export function describeStart(gateway: Gateway): void {
  const { config, warnings, url, urls, managementUrl, logger } = gateway;
  logWarnings(logger, warnings);
  const lines = startLines({
    config,
    services: gateway.services(),
    url,
    urls,
    managementUrl,
    hasIssuedKeys: gateway.issuedKeys.counts.proxy > 0,
    isInContainer: findContainer(),
  });
  for (const line of lines) logger.info(line);
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

export function startLines({ config, services, url, urls = [url], managementUrl, ...more }: Start): string[] {
  const { isInContainer = false, hasIssuedKeys = false } = more;
  const { proxyPlane } = config;
  const needsKey = proxyPlane.isProtected || (hasIssuedKeys && !proxyPlane.isOpen);
  const hasSharedKey = proxyPlane.key !== undefined;
  const proxyKey = hasSharedKey ? `PROXY_API_KEY${hasIssuedKeys ? ", or an issued key" : ""}` : "an issued key";
  const proxyProtection = needsKey ? `needs ${proxyKey}` : protection(false, "PROXY_API_KEY", config);
  const header = needsKey ? ` -H "Authorization: Bearer $${hasSharedKey ? "PROXY_API_KEY" : "KEY"}"` : "";
  const local = url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]");
  const hasEcho = services.some(({ key }) => key === "echo");
  const example = hasEcho ? "echo/hello?x=1" : `${services[0]?.key ?? "echo"}/`;
  return [
    `ByteProxy ${version.version} listens on ${urls.join(" and ")}`,
    ...(config.isLoopback && isInContainer ? [containerWarning(config)] : []),
    ...(managementUrl === undefined
      ? []
      : [`/manage, /status, /metrics and /docs are served on ${managementUrl} only`]),
    `Read: ${filesRead(config)}`,
    `Services: ${withLimit(services.map(describeService))}`,
    `/proxy/* ${proxyProtection}${publicServices(services, needsKey)}`,
    `/manage/* ${protection(config.managementPlane.isProtected, "MANAGEMENT_API_KEY", config)}`,
    `Try: curl ${local}/health`,
    `Try: curl${header} '${local}/proxy/${example}'`,
    `Try: curl${header} ${local}/proxy/services`,
  ];
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
  const { key, hosts, port } = service;
  const addresses = [...hosts, ...(port === undefined ? [] : [`port ${port}`])];
  return `${key} (${[describeCredential(service), ...addresses].join(", ")})`;
}

function describeCredential(service: Service): string {
  const source = nameMissing(service.credential);
  switch (credentialState(service)) {
    case "none":
      return "needs no credential";
    case "present":
      return "credential ready";
    case "missing":
      if (service.credential?.withheld !== undefined) return "its secret is locked, see the warning";
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
  const open = services.filter(({ access }) => access === "public").map(({ key }) => key);
  return needsKey && open.length > 0 ? `, except ${withLimit(open)}` : "";
}

function filesRead({ envFiles, configFile }: Config): string {
  return [...envFiles, configFile].map(({ path, state }) => `${relative("", path)} (${state})`).join(", ");
}
