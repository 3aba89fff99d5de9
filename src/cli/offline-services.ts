/**
 * Services in DATA_DIR, changed without a gateway: by the same checks as over REST, and with an entry in the same audit.
 * Invariant: a stored service that is none any more keeps nobody from listing, or from removing it: that is how it is mended.
 */
import { isStoredKey, type StoredKey } from "../callers/stored-key.ts";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { GatewayError } from "../errors.ts";
import { type AuditEntry, createAudit } from "../registry/audit.ts";
import { createRegistry } from "../registry/registry.ts";
import { createServiceChanges, type ServiceChanges } from "../registry/service-changes.ts";
import { isStoredService, type StoredService } from "../registry/stored-service.ts";
import { openFileStores, type Stores } from "../stores/open-stores.ts";
import { createSecretMask } from "../telemetry/redact.ts";
import { findForbidden } from "../upstreams.ts";
import { type CliFailure, refused } from "./cli-failure.ts";
import { explained, holdDataDir } from "./offline-data-dir.ts";
import { remark } from "./output.ts";
import { readConfiguration } from "./read-configuration.ts";
import type { ServiceDesk } from "./service-desk.ts";

/** As the audit shows whoever did it. */
const AUTHOR = { caller: "command line", address: "", requestId: "" };
const UNCONDITIONALLY = { ifMatch: undefined, ifNoneMatch: undefined };

/** @throws CliFailure */
export async function openOfflineServices(): Promise<ServiceDesk> {
  const config = configuration();
  const folder = config.settings.DATA_DIR;
  const { content: stores, close } = await holdDataDir(folder, () =>
    openFileStores<StoredService, AuditEntry, StoredKey>(folder, isStoredService, isStoredKey),
  );
  const changes = changesOf(config, stores);
  return {
    close,
    async list() {
      const services = changes.list();
      return { services, count: services.length };
    },
    add: (key, config) => inWords(() => changes.create(key, config, AUTHOR)),
    remove: (key) =>
      inWords(async () => {
        const item = changes.read(key);
        await changes.remove(key, AUTHOR, UNCONDITIONALLY);
        return item;
      }),
  };
}

function configuration(): Config {
  try {
    return readConfiguration();
  } catch (error) {
    throw explained(error);
  }
}

function changesOf(config: Config, stores: Stores<StoredService, AuditEntry, StoredKey>): ServiceChanges {
  const { settings } = config;
  return createServiceChanges({
    config: () => config,
    registry: () => createRegistry(servicesOf(config, stores)),
    stored: stores.services,
    fingerprint: stores.fingerprint,
    // One command, one change.
    inTurn: (change) => change(),
    findForbidden: (service) => findForbidden(service, { settings, ownListeners: () => ownListeners(config) }),
    audit: createAudit(
      stores.audit,
      { info() {}, error: () => remark("It is done, but the audit could not be written.") },
      createSecretMask(secretsOf(config)),
    ),
  });
}

/** What the next start would serve; what is stored and not sound is left to be shown as out of use. */
function servicesOf(config: Config, { services: stored }: Stores<StoredService, AuditEntry, StoredKey>) {
  const services = new Map<string, { readonly service: Service }>();
  for (const [key, service] of config.services) services.set(key, { service });
  for (const [key, { value }] of stored.entries) {
    const reading = config.readRuntimeService(key, value.config);
    if ("problems" in reading) services.delete(key);
    else services.set(key, { service: reading.service });
  }
  return services;
}

/** Where the next start would listen. */
function ownListeners({ settings: { HOST, PORT }, managementListener }: Config) {
  const main = { host: HOST, port: PORT };
  return [main, ...(managementListener === undefined ? [] : [managementListener])].map(({ host, port }) => ({
    address: host === "localhost" ? "127.0.0.1" : host,
    port,
  }));
}

function secretsOf({ services, proxyPlane, managementPlane }: Config): string[] {
  const credentials = [...services.values()].map(({ credential }) => credential?.secret);
  return [...credentials, proxyPlane.key, managementPlane.key].flatMap((secret) => secret?.reveal() ?? []);
}

async function inWords<T>(change: () => Promise<T>): Promise<T> {
  try {
    return await change();
  } catch (error) {
    throw error instanceof GatewayError ? refusalOf(error) : error;
  }
}

/** In the form in which a gateway would have answered. */
function refusalOf({ code, title, message, status, hint, extra, cause }: GatewayError): CliFailure {
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code;
  const mend = code === "INTERNAL_ERROR" ? `Look at the space and the permissions of DATA_DIR (${reason}).` : hint;
  const { details } = extra as { readonly details?: unknown };
  return refused({ code, message, hint: mend, details }, { error: title, message, code, status, hint: mend, ...extra });
}
