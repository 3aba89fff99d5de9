/** The `cache` settings of a service. */
import { z } from "zod";

export interface CacheSettings {
  readonly maxEntryBytes: number;
  readonly maxBytes: number;
  readonly revalidate: boolean;
}

export const cacheSettings = z.union([
  z.boolean(),
  z.strictObject({
    maxEntryBytes: z
      .int()
      .min(1_024)
      .max(268_435_456)
      .default(1_048_576)
      .describe("largest body that is stored, in bytes"),
    maxBytes: z
      .int()
      .min(65_536)
      .max(17_179_869_184)
      .default(67_108_864)
      .describe("memory for stored responses, in bytes, at most 10000 responses; the least recently used go first"),
    revalidate: z
      .boolean()
      .default(false)
      .describe("ask the upstream with `If-None-Match` each time, also while a stored response is fresh"),
  }),
]);

/** @returns undefined without a cache. */
export function completeCache(cache: z.output<typeof cacheSettings>): CacheSettings | undefined {
  if (cache === false) return undefined;
  return cache === true ? { maxEntryBytes: 1_048_576, maxBytes: 67_108_864, revalidate: false } : cache;
}
