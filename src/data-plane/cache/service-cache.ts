/**
 * The cache of one service: its store, its requests to the upstream, and what it did.
 * Invariant: what changes a resource ends every earlier statement about it: stored responses of its URL are removed in all
 * partitions, and a response that is arriving meanwhile is not stored.
 */
import type { CacheSettings } from "../../config/cache-settings.ts";
import { CacheKeys } from "./cache-key.ts";
import type { CacheOutcome } from "./cache-outcome.ts";
import { type CacheStore, type CacheUsage, MemoryStore } from "./cache-store.ts";
import type { CacheClock } from "./stored-response.ts";
import { createSystemClock } from "./system-clock.ts";

export type { CacheClock };

export type CacheState = CacheOutcome["state"];

/** A request to the upstream whose response may be stored. */
export interface ActiveFill {
  readonly task: { readonly urlKey: string; readonly sharedAs: string | undefined };
  /** Its response is not stored, and no further client joins. */
  invalidate(): void;
}

/** What status and metrics show. */
export interface DescribedCache {
  describe(): CacheUsage & { readonly responses: Readonly<Record<CacheState, number>> };
  clear(): void;
}

/** However small the responses are. */
const ENTRIES_LIMIT = 10_000;

/**
 * For how long requests are not joined after a response that could not be shared: each would only wait for the first. Longer where that
 * one took long, as with a long poll: of that time no more than this share is spent waiting in vain.
 */
const UNSHARED_MS = 10_000;
const WAITS_PER_UNSHARED = 20;
const UNSHARED_LIMIT = 1_000;

export class ServiceCache implements DescribedCache {
  readonly settings: CacheSettings;
  readonly clock: CacheClock;
  readonly store: CacheStore;
  readonly keys = new CacheKeys();
  /** Bytes of bodies that are kept while they arrive, and until each client that waited for them has them. */
  arriving = 0;
  readonly #pending = new Map<string, ActiveFill>();
  readonly #fills = new Set<ActiveFill>();
  /** The time until which requests of this name are not joined. */
  readonly #unshared = new Map<string, number>();
  readonly #responses = { hit: 0, miss: 0, revalidated: 0, stale: 0, coalesced: 0, bypass: 0 };

  constructor(settings: CacheSettings, clock: CacheClock = createSystemClock()) {
    this.settings = settings;
    this.clock = clock;
    this.store = new MemoryStore({ maxBytes: settings.maxBytes, maxEntries: ENTRIES_LIMIT });
  }

  count(state: CacheState): void {
    this.#responses[state]++;
  }

  /** The request of this name that others may join. */
  pendingOf(sharedAs: string): ActiveFill | undefined {
    return this.#pending.get(sharedAs);
  }

  fillBegan(fill: ActiveFill): void {
    this.#fills.add(fill);
    const { sharedAs } = fill.task;
    if (sharedAs !== undefined) this.#pending.set(sharedAs, fill);
  }

  /** No further client joins it. */
  forgetPending(fill: ActiveFill): void {
    const { sharedAs } = fill.task;
    if (sharedAs !== undefined && this.#pending.get(sharedAs) === fill) this.#pending.delete(sharedAs);
  }

  fillEnded(fill: ActiveFill): void {
    this.forgetPending(fill);
    this.#fills.delete(fill);
  }

  /** The response to requests of this name cannot be shared. @param tookMs how long requests that had joined waited for it. */
  noteUnshared(sharedAs: string, tookMs: number): void {
    if (this.#unshared.size >= UNSHARED_LIMIT) this.#unshared.clear();
    this.#unshared.set(sharedAs, this.clock.now() + Math.max(UNSHARED_MS, WAITS_PER_UNSHARED * tookMs));
  }

  mayShare(sharedAs: string): boolean {
    if (this.#unshared.size === 0) return true;
    const until = this.#unshared.get(sharedAs);
    return until === undefined || this.clock.now() >= until;
  }

  /** @param urls of resources that changed. */
  invalidate(urls: Iterable<string>): void {
    const changed = new Set([...urls].map((url) => this.keys.urlKeyOf(url)));
    for (const url of changed) this.store.invalidate(url);
    for (const fill of this.#fills) if (changed.has(fill.task.urlKey)) this.#invalidateFill(fill);
  }

  clear(): void {
    this.store.clear();
    this.#unshared.clear();
    for (const fill of this.#fills) this.#invalidateFill(fill);
  }

  describe() {
    return { ...this.store.usage(), responses: { ...this.#responses } };
  }

  #invalidateFill(fill: ActiveFill): void {
    this.forgetPending(fill);
    fill.invalidate();
  }
}
