/** What a newcomer reads first: where it listens, what is there, what protects it, what to try. Under 15 lines. */
import { relative } from "node:path";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { findContainer } from "../diagnostics/listen.ts";
import type { Gateway } from "../gateway.ts";
import { credentialState } from "../registry/credential-state.ts";
import { version } from "../version.ts";
import { tellWarnings } from "./tell-warnings.ts";

export function describeStart(gateway: Gateway): void {
  const { config, warnings, url, managementUrl, logger } = gateway;
  tellWarnings(logger, warnings);
  const hasIssuedKeys = gateway.issuedKeys.counts.proxy > 0;
  const start = {
    config,
    services: gateway.services(),
    url,
    managementUrl,
    hasIssuedKeys,
    isInContainer: findContainer(),
  };
  for (const line of startLines(start)) logger.info(line);
}

/** In the background: it keeps nobody waiting, and what goes wrong with it is nobody's problem. */
export async function announceUpdate({ checkForUpdate, logger }: Gateway): Promise<void> {
  const { latest, updateAvailable } = await checkForUpdate();
  if (updateAvailable) logger.info(`ByteProxy ${latest} is there, this is ${version.version}`);
}

export interface Start {
  readonly config: Config;
  readonly services: readonly Service[];
  readonly url: string;
  readonly managementUrl?: string | undefined;
  /** For the proxy plane: they protect it where nothing else does. */
  readonly hasIssuedKeys?: boolean;
  /** Others would have to come in from outside of one. */
  readonly isInContainer?: boolean;
}

export function startLines({ config, services: served, url, managementUrl, ...more }: Start): string[] {
  const { isInContainer = false, hasIssuedKeys = false } = more;
  const { proxyPlane } = config;
  const hasKey = proxyPlane.isProtected || (hasIssuedKeys && !proxyPlane.isOpen);
  const hasShared = proxyPlane.key !== undefined;
  const proxyKey = hasShared ? `PROXY_API_KEY${hasIssuedKeys ? ", or an issued key" : ""}` : "an issued key";
  const header = hasKey ? ` -H "Authorization: Bearer $${hasShared ? "PROXY_API_KEY" : "KEY"}"` : "";
  const local = url.replace("//0.0.0.0", "//127.0.0.1").replace("//[::]", "//[::1]");
  const hasEcho = served.some(({ key }) => key === "echo");
  const example = hasEcho ? "echo/hello?x=1" : `${served[0]?.key ?? "echo"}/`;
  return [
    `ByteProxy ${version.version} listens on ${url}`,
    ...(config.isLoopback && isInContainer ? [hiddenWords(config)] : []),
    ...(managementUrl === undefined ? [] : [`/manage, /status, /metrics and /docs are on ${managementUrl} only`]),
    `Read: ${filesRead(config)}`,
    `Services: ${serviceWords(served)}`,
    `/proxy/* ${hasKey ? `needs ${proxyKey}` : protection(false, "PROXY_API_KEY", config)}${exceptions(served, hasKey)}`,
    `/manage/* ${protection(config.managementPlane.isProtected, "MANAGEMENT_API_KEY", config)}`,
    `Try: curl ${local}/health`,
    `Try: curl${header} '${local}/proxy/${example}'`,
    `Try: curl${header} ${local}/proxy/services`,
  ];
}

/** The second listener may well be on an address that is reached. */
function hiddenWords({ managementListener: second }: Config): string {
  const hidden = second === undefined || second.isLoopback ? "the gateway" : "/proxy";
  return `This is a container, and HOST is loopback: nothing outside of it reaches ${hidden}; HOST=0.0.0.0 opens it`;
}

/** More services than this are counted, not named. */
const NAMED_LIMIT = 20;

function serviceWords(all: readonly Service[]): string {
  const more = all.length > NAMED_LIMIT ? `, and ${all.length - NAMED_LIMIT} more` : "";
  return all.slice(0, NAMED_LIMIT).map(service).join(", ") + more;
}

function service(service: Service): string {
  const source = service.credential?.source;
  switch (credentialState(service)) {
    case "none":
      return `${service.key} (needs no credential)`;
    case "present":
      return `${service.key} (credential ready)`;
    case "missing":
      if (service.credential?.withheld !== undefined) return `${service.key} (its secret is locked, see the warning)`;
      return service.auth?.required ? `${service.key} (off: set ${source})` : `${service.key} (without ${source})`;
  }
}

function protection(isProtected: boolean, variable: string, config: Config): string {
  if (isProtected) return `needs ${variable}`;
  return config.isLoopback
    ? `is open to this machine (set ${variable} to protect it)`
    : `is OPEN TO EVERYONE who reaches this address (set ${variable})`;
}

/** Services that need no key although the others do. */
function exceptions(served: readonly Service[], hasKey: boolean): string {
  const open = served.filter(({ access }) => access === "public").map(({ key }) => key);
  if (!hasKey || open.length === 0) return "";
  const more = open.length > NAMED_LIMIT ? `, and ${open.length - NAMED_LIMIT} more` : "";
  return `, but for ${open.slice(0, NAMED_LIMIT).join(", ")}${more}`;
}

function filesRead({ envFiles, configFile }: Config): string {
  return [...envFiles, configFile].map(({ path, state }) => `${relative("", path)} (${state})`).join(", ");
}
