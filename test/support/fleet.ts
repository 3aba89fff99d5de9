/** Several gateways with the same Redis and the same services. */
import type { ServiceInput } from "../../src/config/schema.ts";
import { eventually } from "./eventually.ts";
import { MANAGEMENT_KEY, startGateway, type TestGateway } from "./gateway.ts";

export interface SharedStoreStatus {
  readonly state: "connected" | "degraded";
  readonly fault: string | null;
  readonly code: string | null;
  readonly replicas: number;
}

export interface Fleet {
  readonly gateways: readonly TestGateway[];
  /** The statuses of so many requests of each gateway, all sent at the same time. */
  ask(count: number, service?: string, headers?: Readonly<Record<string, string>>): Promise<readonly number[]>;
  /** Resolves when each gateway is connected and has seen all of them. */
  connected(replicas?: number): Promise<void>;
  /** Resolves when each gateway is degraded for this reason. */
  degraded(fault: string): Promise<void>;
}

export interface FleetSetup {
  readonly url: string;
  readonly count?: number;
  readonly services: Record<string, Partial<ServiceInput>>;
  readonly env?: Record<string, string>;
}

export const storeOf = async ({ url }: Pick<TestGateway, "url">): Promise<SharedStoreStatus> =>
  ((await (await fetch(`${url}/status`)).json()) as { store: SharedStoreStatus }).store;

export async function startFleet({ url, count = 3, services, env = {} }: FleetSetup): Promise<Fleet> {
  const all = { MANAGEMENT_API_KEY: MANAGEMENT_KEY, EGRESS_ALLOW_PRIVATE: "true", REDIS_URL: url, ...env };
  const gateways = await Promise.all(Array.from({ length: count }, () => startGateway({ env: all, services })));
  const when = async (what: string, holds: (status: SharedStoreStatus) => boolean) => {
    for (const gateway of gateways) {
      await eventually(
        async () => {
          if (holds(await storeOf(gateway))) return true;
          // A heartbeat is due each second.
          await new Promise((resolve) => setTimeout(resolve, 25));
          return false;
        },
        what,
        15_000,
      );
    }
  };
  return {
    gateways,
    ask: (each, service = "api", headers = {}) =>
      Promise.all(
        gateways.flatMap((gateway) =>
          Array.from({ length: each }, async () => {
            const response = await fetch(`${gateway.url}/proxy/${service}/`, { headers });
            await response.arrayBuffer();
            return response.status;
          }),
        ),
      ),
    connected: (replicas = count) =>
      when("the gateways to be connected", (status) => status.state === "connected" && status.replicas === replicas),
    degraded: (fault) => when(`the gateways to be degraded: ${fault}`, (status) => status.fault === fault),
  };
}

export const countOf = (statuses: readonly number[], status: number) =>
  statuses.filter((each) => each === status).length;
