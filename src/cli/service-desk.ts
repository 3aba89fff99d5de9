/**
 * What `byteproxy services` does its work with: a running gateway, or DATA_DIR itself.
 * Invariant: both refuse the same things in the same words, as CliFailure.
 */
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { ServiceItem } from "../registry/service-items.ts";
import { CliFailure } from "./cli-failure.ts";
import { type GatewayClient, openGatewayClient } from "./gateway-client.ts";

export interface ServiceList {
  readonly services: readonly ServiceItem[];
  readonly count: number;
}

/** Everything throws CliFailure. */
export interface ServiceDesk {
  list(): Promise<ServiceList>;
  add(key: string, config: unknown): Promise<ServiceItem>;
  /** Resolves to what was there. */
  remove(key: string): Promise<ServiceItem>;
  close(): Promise<void>;
}

export interface DeskOptions {
  readonly url?: string;
  readonly offline?: boolean;
}

/** Opens the desk for as long as `work` takes. @throws CliFailure */
export async function atServiceDesk<T>({ url, offline }: DeskOptions, work: (desk: ServiceDesk) => Promise<T>) {
  const desk = offline === true ? await openOffline() : openOnline(openGatewayClient(url));
  try {
    return await work(desk);
  } finally {
    await desk.close();
  }
}

/** Only then are the stores and what checks a service loaded. */
async function openOffline(): Promise<ServiceDesk> {
  const { openOfflineServices } = await import("./offline-services.ts");
  return openOfflineServices();
}

const pathOf = (key: string) => `/manage/services/${encodeURIComponent(key)}`;

function openOnline(client: GatewayClient): ServiceDesk {
  return {
    async list() {
      const list = (await client.ask("GET", "/manage/services")) as ServiceList | undefined;
      if (Array.isArray(list?.services)) return list;
      throw new CliFailure(1, ["The gateway answered with no list of services: is it ByteProxy?"], list);
    },
    add: async (key, config) => (await client.ask("POST", "/manage/services", { key, config })) as ServiceItem,
    async remove(key) {
      const item = (await client.ask("GET", pathOf(key))) as ServiceItem;
      await client.ask("DELETE", pathOf(key));
      return item;
    },
    async close() {},
  };
}

/** Only a running gateway can: it is its address and its egress that count. @throws CliFailure */
export async function testService(url: string | undefined, key: string): Promise<ProbeOutcome> {
  return (await openGatewayClient(url).ask("POST", `${pathOf(key)}/test`)) as ProbeOutcome;
}
