/**
 * The bytes of a response while they arrive.
 * Invariant: they are kept from the beginning only up to the bounds of the cache; beyond them only what a client has not read yet, and
 * no more than those bounds.
 */
import { joinBody } from "../forward/join-body.ts";
import { noFields, type ResponseHeaders } from "../forward/transport/response-fields.ts";
import type { ArrivedBody } from "./reader.ts";
import type { ServiceCache } from "./service-cache.ts";

/** Of a response that no client gets. */
const DISCARD_BYTES_LIMIT = 65_536;

export class FillBody implements ArrivedBody {
  isKept = false;
  isComplete = false;
  trailers: ResponseHeaders = noFields();
  readonly #cache: ServiceCache;
  readonly #chunks: Buffer[] = [];
  /** The number of chunks that were forgotten. */
  #base = 0;
  #bytes = 0;
  #counted = 0;

  constructor(cache: ServiceCache) {
    this.#cache = cache;
  }

  at(position: number): Buffer | undefined {
    return this.#chunks[position - this.#base];
  }

  get end(): number {
    return this.#base + this.#chunks.length;
  }

  keepAll(): void {
    this.isKept = true;
  }

  /** @returns false where the body, or all bodies that arrive, are too large to be kept. */
  push(chunk: Buffer): boolean {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (!this.isKept) return true;
    this.#counted += chunk.length;
    this.#cache.arriving += chunk.length;
    return this.#bytes <= this.#cache.settings.maxEntryBytes && this.#cache.arriving <= this.#cache.settings.maxBytes;
  }

  /** Counts bytes that no client gets. @returns false where the rest is not worth reading. */
  discard(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    return this.#bytes <= DISCARD_BYTES_LIMIT;
  }

  complete(trailers: ResponseHeaders): void {
    this.isComplete = true;
    this.trailers = trailers;
  }

  concat(): Buffer {
    return joinBody(this.#chunks, this.#bytes);
  }

  stopKeeping(): void {
    this.isKept = false;
    this.release();
  }

  /** They no longer count as arriving. */
  release(): void {
    this.#cache.arriving -= this.#counted;
    this.#counted = 0;
  }

  isTooFarBehind({ bytes }: { readonly bytes: number }): boolean {
    return this.#bytes - bytes > this.#cache.settings.maxEntryBytes;
  }

  /** Forgets what all of them have read. */
  forget(readers: readonly { readonly position: number }[]): void {
    const read = readers.reduce((least, { position }) => Math.min(least, position), this.end);
    if (read > this.#base) this.#chunks.splice(0, read - this.#base);
    this.#base = Math.max(this.#base, read);
  }
}
