/**
 * Where the cache of one service keeps its responses: the contract of every store, and the store in memory.
 * Invariant: the bytes and the number of entries have bounds, whatever is stored; the least recently used entries go first.
 */
import { type StoredResponse, sizeOf } from "./stored-response.ts";
import { type Ordered, UseOrder } from "./use-order.ts";

export interface CacheUsage {
  readonly entries: number;
  readonly bytes: number;
}

/** Keys are opaque. Under one key there is a response for each variance of its neutral headers. */
export interface CacheStore {
  /** Newest first; it counts as a use. */
  find(key: string): readonly StoredResponse[];
  /** Replaces a response of the same variance. One that is larger than the store is not kept. @param url for `invalidate`. */
  put(key: string, url: string, response: StoredResponse): void;
  /** Removes the response of one variance under a key. */
  remove(key: string, variance: string): void;
  /** Removes the responses of a URL under all keys. */
  invalidate(url: string): void;
  clear(): void;
  /** A client receives the response: its memory counts until then, also if it is removed. @returns a function that ends this. */
  hold(response: StoredResponse): () => void;
  usage(): CacheUsage;
}

export interface StoreBounds {
  readonly maxBytes: number;
  readonly maxEntries: number;
}

/** A response that varies by a header that differs for each request would otherwise fill the store by itself. */
const VARIANTS_LIMIT = 8;

interface Slot extends Ordered<Slot> {
  readonly key: string;
  readonly url: string;
  readonly variants: StoredResponse[];
  bytes: number;
}

const NONE: readonly StoredResponse[] = [];

export class MemoryStore implements CacheStore {
  readonly #bounds: StoreBounds;
  readonly #slots = new Map<string, Slot>();
  readonly #order = new UseOrder<Slot>();
  /** Keys by URL. */
  readonly #keysOf = new Map<string, Set<string>>();
  #bytes = 0;
  #entries = 0;
  /** Responses that clients receive, with the number of clients. */
  readonly #held = new Map<StoredResponse, number>();
  /** Those of them that were removed, with their bytes. */
  readonly #removed = new Map<StoredResponse, number>();
  #removedBytes = 0;

  constructor(bounds: StoreBounds) {
    this.#bounds = bounds;
  }

  find(key: string): readonly StoredResponse[] {
    const slot = this.#slots.get(key);
    if (slot === undefined) return NONE;
    this.#order.use(slot);
    return slot.variants;
  }

  put(key: string, url: string, response: StoredResponse): void {
    this.remove(key, response.variance);
    const size = sizeOf(response);
    if (size + this.#removedBytes > this.#bounds.maxBytes) return;
    const slot = this.#slotFor(key, url);
    slot.variants.unshift(response);
    slot.bytes += size;
    this.#bytes += size;
    this.#entries++;
    if (slot.variants.length > VARIANTS_LIMIT) this.#dropVariant(slot, VARIANTS_LIMIT);
    this.#makeRoom(slot);
  }

  remove(key: string, variance: string): void {
    const slot = this.#slots.get(key);
    const at = slot?.variants.findIndex((each) => each.variance === variance) ?? -1;
    if (slot !== undefined && at !== -1) this.#dropVariant(slot, at);
  }

  invalidate(url: string): void {
    for (const key of [...(this.#keysOf.get(url) ?? [])]) this.#drop(this.#slots.get(key) as Slot);
  }

  clear(): void {
    for (const { variants } of this.#slots.values()) for (const each of variants) this.#noteRemoved(each);
    this.#slots.clear();
    this.#order.clear();
    this.#keysOf.clear();
    this.#bytes = 0;
    this.#entries = 0;
  }

  hold(response: StoredResponse): () => void {
    this.#held.set(response, (this.#held.get(response) ?? 0) + 1);
    return () => {
      const others = (this.#held.get(response) ?? 1) - 1;
      if (others > 0) return void this.#held.set(response, others);
      this.#held.delete(response);
      this.#removedBytes -= this.#removed.get(response) ?? 0;
      this.#removed.delete(response);
    };
  }

  #noteRemoved(response: StoredResponse): void {
    if (!this.#held.has(response)) return;
    const size = sizeOf(response);
    this.#removed.set(response, size);
    this.#removedBytes += size;
  }

  usage(): CacheUsage {
    return { entries: this.#entries, bytes: this.#bytes };
  }

  /** The slot is the most recently used one now. */
  #slotFor(key: string, url: string): Slot {
    const slot = this.#slots.get(key) ?? { key, url, variants: [], bytes: 0, older: undefined, newer: undefined };
    this.#slots.set(key, slot);
    this.#order.use(slot);
    const keys = this.#keysOf.get(url);
    if (keys === undefined) this.#keysOf.set(url, new Set([key]));
    else keys.add(key);
    return slot;
  }

  /** @param newest what was stored last: it goes only variant by variant. */
  #makeRoom(newest: Slot): void {
    const { maxBytes, maxEntries } = this.#bounds;
    while (this.#bytes + this.#removedBytes > maxBytes || this.#entries > maxEntries) {
      const oldest = this.#order.oldest as Slot;
      if (oldest !== newest) this.#drop(oldest);
      else {
        this.#dropVariant(newest, newest.variants.length - 1);
        // There is no room: clients still receive what was removed for it.
        if (newest.variants.length === 0) return;
      }
    }
  }

  #dropVariant(slot: Slot, at: number): void {
    const [dropped] = slot.variants.splice(at, 1);
    const size = sizeOf(dropped as StoredResponse);
    this.#noteRemoved(dropped as StoredResponse);
    slot.bytes -= size;
    this.#bytes -= size;
    this.#entries--;
    if (slot.variants.length === 0) this.#drop(slot);
  }

  #drop(slot: Slot): void {
    this.#slots.delete(slot.key);
    this.#order.remove(slot);
    for (const each of slot.variants) this.#noteRemoved(each);
    this.#bytes -= slot.bytes;
    this.#entries -= slot.variants.length;
    const keys = this.#keysOf.get(slot.url);
    keys?.delete(slot.key);
    if (keys?.size === 0) this.#keysOf.delete(slot.url);
  }
}
