/** Keys in DATA_DIR, changed without a gateway: by the same checks as over REST, and with an entry in the same audit. */
import { createIssuedKeys } from "../callers/issued-keys.ts";
import { createKeyChanges } from "../registry/key-changes.ts";
import type { KeyDesk } from "./key-desk.ts";
import { AUTHOR, inWords, openOfflineStores } from "./offline-stores.ts";

/** @throws CliFailure */
export async function openOfflineKeys(): Promise<KeyDesk> {
  const { stores, audit, close } = await openOfflineStores();
  const issuedKeys = createIssuedKeys({ records: stores.keys, usage: stores.keyUsage });
  const changes = createKeyChanges(issuedKeys, audit);
  return {
    async list() {
      const keys = changes.list();
      return { keys, count: keys.length };
    },
    create: (wanted) =>
      inWords(async () => {
        const { key, item } = await changes.create(wanted, AUTHOR);
        return { ...item, key };
      }),
    rotate: (id, wanted) =>
      inWords(async () => {
        const { key, item } = await changes.rotate(id, wanted, AUTHOR);
        return { ...item, key };
      }),
    revoke: (id) => inWords(() => changes.revoke(id, AUTHOR)),
    async close() {
      issuedKeys.close();
      await close();
    },
  };
}
