/**
 * Which key issued which: a key with `manage:keys` issues others, and those may issue more.
 * Invariant: a chain of issuers is short, and a key has a bounded number of descendants, so that no key fills the store, and a
 * request finds all limits that it counts against with a few look-ups.
 */
import type { Records } from "../stores/records.ts";
import type { StoredKey } from "./issued-key.ts";

/** Issuers of one key, one above the other. */
export const ISSUERS_LIMIT = 8;

export interface KeyFamily {
  /** Ids of the keys that issued this one, the nearest first. A key that was deleted ends the chain. */
  issuersOf(id: string): readonly string[];
  /** Keys that this one issued, directly or by others, in any state; at most so many. */
  descendantsOf(id: string, most: number): readonly string[];
  hasIssued(id: string): boolean;
  close(): void;
}

export function createKeyFamily({ entries, watch }: Pick<Records<StoredKey>, "entries" | "watch">): KeyFamily {
  /** Only of keys that a key issued. */
  const issuers = new Map<string, string>();
  const children = new Map<string, Set<string>>();

  function update(id: string): void {
    const issuer = entries.get(id)?.value.createdBy;
    const before = issuers.get(id);
    if (issuer === before) return;
    if (before !== undefined) {
      issuers.delete(id);
      const others = children.get(before);
      others?.delete(id);
      if (others?.size === 0) children.delete(before);
    }
    if (issuer === undefined || !isKeyId(issuer)) return;
    issuers.set(id, issuer);
    const siblings = children.get(issuer);
    if (siblings === undefined) children.set(issuer, new Set([id]));
    else siblings.add(id);
  }

  for (const id of entries.keys()) update(id);
  const stop = watch(update);

  return {
    issuersOf(id) {
      const chain: string[] = [];
      for (let next = issuers.get(id); next !== undefined && entries.has(next); next = issuers.get(next)) {
        // Also ends a circle, which only a damaged file can have.
        if (chain.push(next) >= ISSUERS_LIMIT) break;
      }
      return chain;
    },
    descendantsOf(id, most) {
      const found = new Set<string>();
      const add = (issuer: string) => {
        for (const child of children.get(issuer) ?? []) if (found.size < most) found.add(child);
      };
      add(id);
      // Iterating a Set includes the values that are added meanwhile.
      for (const each of found) add(each);
      return [...found];
    },
    hasIssued: (id) => children.has(id),
    close: stop,
  };
}

/** The other callers, `management-key` and `anonymous`, have no record. */
const isKeyId = (caller: string) => caller.startsWith("key_");
