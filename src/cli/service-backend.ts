/** What `byteproxy services` changes: the services of a running gateway, or those of DATA_DIR. */
import type { ServiceItem } from "../services/items.ts";
import type { GatewayClient } from "./gateway-client.ts";
import type { ServiceBackend, ServiceList } from "./offline-stores.ts";
import type { CommonOptions } from "./options.ts";

/** @throws CliFailure */
export async function withServiceBackend<T>(
  options: CommonOptions,
  work: (backend: ServiceBackend) => Promise<T>,
): Promise<T> {
  // Loaded only here: reading the settings takes longer than all the rest of `--help`.
  const { withBackend } = await import("./gateway-client.ts");
  const offline = async () => (await import("./offline-stores.ts")).openOfflineServices();
  return withBackend(options, { online: openOnline, offline }, work);
}

export const pathOf = (key: string) => `/manage/services/${encodeURIComponent(key)}`;

const ITEM_MEMBERS = ["source", "config", "credential"] as const;

function openOnline(client: GatewayClient): ServiceBackend {
  return {
    list: () => client.ask<ServiceList>("GET", "/manage/services", { members: ["services", "count"] }),
    add: (key, config) =>
      client.ask<ServiceItem>("POST", "/manage/services", { body: { key, config }, members: ITEM_MEMBERS }),
    show: (key) => client.ask<ServiceItem>("GET", pathOf(key), { members: ITEM_MEMBERS }),
    async update(key, patch) {
      // Without the tag, a change that another operator makes meanwhile could be lost.
      const { entityTag } = await client.askTagged<ServiceItem>("GET", pathOf(key), { members: ITEM_MEMBERS });
      const conditions = { ifMatch: entityTag, members: ITEM_MEMBERS };
      return client.ask<ServiceItem>("PATCH", pathOf(key), { body: patch, ...conditions });
    },
    async remove(key) {
      const item = await client.ask<ServiceItem>("GET", pathOf(key), { members: ITEM_MEMBERS });
      await client.ask("DELETE", pathOf(key));
      return item;
    },
    async close() {},
  };
}

/** `missing: STRIPE_SECRET_KEY`. */
export function describeCredential({ state, source, withheld }: ServiceItem["credential"]): string {
  if (withheld !== undefined) return `locked: ${source}`;
  return source === null ? state : `${state}: ${source}`;
}
