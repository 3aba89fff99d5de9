/**
 * What `byteproxy keys` does its work with: a running gateway, or DATA_DIR itself.
 * Invariant: both refuse the same things in the same words, as CliFailure.
 */
import type { Issued, ListedKey } from "../callers/issued-keys.ts";
import { atDesk, type Desk, type DeskOptions } from "./desk.ts";
import { answerOf, type GatewayClient } from "./gateway-client.ts";

export interface KeyList {
  readonly keys: readonly ListedKey[];
  readonly count: number;
}

/** The key, this once. */
export type NewKey = ListedKey & Pick<Issued, "key">;

/** Everything throws CliFailure. */
export interface KeyDesk extends Desk {
  list(): Promise<KeyList>;
  /** @param wanted the body of `POST /manage/keys`. */
  create(wanted: unknown): Promise<NewKey>;
  rotate(id: string, wanted: unknown): Promise<NewKey>;
  revoke(id: string): Promise<void>;
}

/** @throws CliFailure */
export function atKeyDesk<T>(options: DeskOptions, work: (desk: KeyDesk) => Promise<T>): Promise<T> {
  const offline = async () => (await import("./offline-keys.ts")).openOfflineKeys();
  return atDesk(options, { online: openOnline, offline }, work);
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
