/**
 * What commands do their work at: a running gateway, or DATA_DIR itself.
 * Invariant: it is closed when the work is done, whatever became of it.
 */
import { type GatewayClient, openGatewayClient } from "./gateway-client.ts";

export interface DeskOptions {
  readonly url?: string;
  readonly offline?: boolean;
}

export interface Desk {
  close(): Promise<void>;
}

export interface DeskKinds<D extends Desk> {
  readonly online: (client: GatewayClient) => D;
  /** Only then are the stores loaded. @throws CliFailure */
  readonly offline: () => Promise<D>;
}

/** Opens the desk for as long as `work` takes. @throws CliFailure */
export async function atDesk<D extends Desk, T>(
  { url, offline }: DeskOptions,
  kinds: DeskKinds<D>,
  work: (desk: D) => Promise<T>,
): Promise<T> {
  const desk = offline === true ? await kinds.offline() : kinds.online(openGatewayClient(url));
  try {
    return await work(desk);
  } finally {
    await desk.close();
  }
}
