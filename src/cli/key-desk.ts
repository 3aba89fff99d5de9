/**
 * What `byteproxy keys` does its work with: a running gateway, or DATA_DIR itself.
 * Invariant: both refuse the same things in the same words, as CliFailure.
 */
import type { Issued, ListedKey } from "../callers/issued-keys.ts";
import { answerOf, type GatewayClient, openGatewayClient } from "./gateway-client.ts";
import type { DeskOptions } from "./service-desk.ts";

export interface KeyList {
  readonly keys: readonly ListedKey[];
  readonly count: number;
}

/** The key, this once. */
export type NewKey = ListedKey & Pick<Issued, "key">;

/** Everything throws CliFailure. */
export interface KeyDesk {
  list(): Promise<KeyList>;
  /** @param wanted the body of `POST /manage/keys`. */
  create(wanted: unknown): Promise<NewKey>;
  rotate(id: string, wanted: unknown): Promise<NewKey>;
  revoke(id: string): Promise<void>;
  close(): Promise<void>;
}

/** Opens the desk for as long as `work` takes. @throws CliFailure */
export async function atKeyDesk<T>({ url, offline }: DeskOptions, work: (desk: KeyDesk) => Promise<T>): Promise<T> {
  const desk = offline === true ? await openOffline() : openOnline(openGatewayClient(url));
  try {
    return await work(desk);
  } finally {
    await desk.close();
  }
}

/** Only then are the stores loaded. */
async function openOffline(): Promise<KeyDesk> {
  const { openOfflineKeys } = await import("./offline-keys.ts");
  return openOfflineKeys();
}

const pathOf = (id: string) => `/manage/keys/${encodeURIComponent(id)}`;

const newKeyOf = (body: unknown) => answerOf<NewKey>(body, "id", "name", "key", "permissions");

function openOnline(client: GatewayClient): KeyDesk {
  return {
    list: async () => answerOf<KeyList>(await client.ask("GET", "/manage/keys"), "keys", "count"),
    create: async (wanted) => newKeyOf(await client.ask("POST", "/manage/keys", wanted)),
    rotate: async (id, wanted) => newKeyOf(await client.ask("POST", `${pathOf(id)}/rotate`, wanted)),
    async revoke(id) {
      await client.ask("DELETE", pathOf(id));
    },
    async close() {},
  };
}
