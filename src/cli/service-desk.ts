/**
 * What `byteproxy services` does its work with: a running gateway, or DATA_DIR itself.
 * Invariant: both refuse the same things in the same words, as CliFailure.
 */
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { ServiceItem } from "../registry/service-items.ts";
import { atDesk, type Desk, type DeskOptions } from "./desk.ts";
import { answerOf, type GatewayClient, openGatewayClient } from "./gateway-client.ts";

export interface ServiceList {
  readonly services: readonly ServiceItem[];
  readonly count: number;
}

/** Everything throws CliFailure. */
export interface ServiceDesk extends Desk {
  list(): Promise<ServiceList>;
  add(key: string, config: unknown): Promise<ServiceItem>;
  /** Resolves to what was there. */
  remove(key: string): Promise<ServiceItem>;
}

/** @throws CliFailure */
export function atServiceDesk<T>(options: DeskOptions, work: (desk: ServiceDesk) => Promise<T>): Promise<T> {
  const offline = async () => (await import("./offline-services.ts")).openOfflineServices();
  return atDesk(options, { online: openOnline, offline }, work);
}

const pathOf = (key: string) => `/manage/services/${encodeURIComponent(key)}`;

const itemOf = (body: unknown) => answerOf<ServiceItem>(body, "source", "config", "credential");

function openOnline(client: GatewayClient): ServiceDesk {
  return {
    list: async () => answerOf<ServiceList>(await client.ask("GET", "/manage/services"), "services", "count"),
    add: async (key, config) => itemOf(await client.ask("POST", "/manage/services", { key, config })),
    async remove(key) {
      const item = itemOf(await client.ask("GET", pathOf(key)));
      await client.ask("DELETE", pathOf(key));
      return item;
    },
    async close() {},
  };
}

/** Only a running gateway can: it is its address and its egress that count. @throws CliFailure */
export async function testService(url: string | undefined, key: string): Promise<ProbeOutcome> {
  const outcome = await openGatewayClient(url).ask("POST", `${pathOf(key)}/test`);
  return answerOf<ProbeOutcome>(outcome, "service", "status", "phases", "credential");
}
