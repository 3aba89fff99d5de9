/**
 * Services in DATA_DIR, changed without a gateway: by the same checks as over REST, and with an entry in the same audit.
 * Invariant: a stored service that is none any more keeps nobody from listing, or from removing it: that is how it is mended.
 */

import type { GatewayStores } from "../composition/lasting-parts.ts";
import { findForbidden } from "../composition/upstreams.ts";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { Audit } from "../registry/audit.ts";
import { createRegistry } from "../registry/registry.ts";
import { createServiceChanges, type ServiceChanges } from "../registry/service-changes.ts";
import { nextListeners } from "./next-listeners.ts";
import { AUTHOR, inWords, openOfflineStores } from "./offline-stores.ts";
import type { ServiceDesk } from "./service-desk.ts";

const UNCONDITIONALLY = { ifMatch: undefined, ifNoneMatch: undefined };

/** @throws CliFailure */
export async function openOfflineServices(): Promise<ServiceDesk> {
  const { config, stores, audit, close } = await openOfflineStores();
  const changes = changesOf(config, stores, audit);
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

function changesOf(config: Config, stores: GatewayStores, audit: Audit): ServiceChanges {
  const { settings } = config;
  return createServiceChanges({
    config: () => config,
    registry: () => createRegistry(servicesOf(config, stores)),
    stored: stores.services,
    fingerprint: stores.fingerprint,
    // One command, one change.
    inTurn: (change) => change(),
    findForbidden: (service) => findForbidden(service, { settings, ownListeners: () => nextListeners(config) }),
    audit,
  });
}

/** What the next start would serve; what is stored and not sound is left to be shown as out of use. */
function servicesOf(config: Config, { services: stored }: GatewayStores) {
  const services = new Map<string, { readonly service: Service }>();
  for (const [key, service] of config.services) services.set(key, { service });
  for (const [key, { value }] of stored.entries) {
    const reading = config.readRuntimeService(key, value.config);
    if ("problems" in reading) services.delete(key);
    else services.set(key, { service: reading.service });
  }
  return services;
}
