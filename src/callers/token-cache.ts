/**
 * Verified tokens by their digest, because a verification costs as much as the rest of the admission.
 * Invariant: an entry lives at most five minutes and never beyond the token's `exp`; memory is bounded; nothing of a token is kept but
 * its digest and what it grants.
 */
import type { TokenKey } from "./token-key.ts";

const LIFE_MS = 5 * 60_000;
/** Of each half. */
const ENTRIES_LIMIT = 10_000;

interface Entry {
  readonly key: TokenKey;
  /** Ms since the epoch. */
  readonly until: number;
}

/** A Map in two halves, of which the older one is dropped when the newer one is full. */
export class TokenCache {
  readonly #limit: number;
  #newer = new Map<string, Entry>();
  #older = new Map<string, Entry>();

  constructor(limit = ENTRIES_LIMIT) {
    this.#limit = limit;
  }

  find(digest: string, now: number): TokenKey | undefined {
    const entry = this.#newer.get(digest) ?? this.#older.get(digest);
    // A clock that was set back must not lengthen a life.
    return entry !== undefined && now < entry.until && entry.until - now <= LIFE_MS ? entry.key : undefined;
  }

  add(key: TokenKey, now: number): void {
    if (this.#newer.size >= this.#limit) {
      this.#older = this.#newer;
      this.#newer = new Map();
    }
    this.#newer.set(key.digest, { key, until: Math.min(now + LIFE_MS, key.expiresAtMs) });
  }

  clear(): void {
    this.#newer.clear();
    this.#older.clear();
  }

  get size(): number {
    return this.#newer.size + this.#older.size;
  }
}
