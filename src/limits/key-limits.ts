/**
 * The limits that issued keys bear: one limiter a key, on top of those of services.
 * Invariant: a limit that did not change goes on counting; and only keys that have one are kept.
 */
import { createLimiter, type Limiter } from "./limiters.ts";

/** An issued key, as far as its limit goes. */
export interface LimitedKey {
  readonly id: string;
  readonly key: { readonly rateLimit: { readonly maxRequests: number; readonly windowMs: number } | null };
}

export interface KeyLimits {
  /** Undefined for a key without a limit. */
  of(issued: LimitedKey | undefined): Limiter | undefined;
  /** Ids of the keys that have used up their limit. */
  exceeded(): Promise<readonly string[]>;
}

/** Keys that were deleted since are found out when there are more than any gateway has. */
const KEYS_LIMIT = 20_000;

export function createKeyLimits(): KeyLimits {
  const limiters = new Map<string, { readonly limit: object; readonly limiter: Limiter | undefined }>();
  return {
    of(issued) {
      const limit = issued?.key.rateLimit;
      if (issued === undefined || limit === null || limit === undefined) return undefined;
      const known = limiters.get(issued.id);
      // The record of a key is replaced as a whole: the same object is the same limit.
      if (known?.limit === limit) return known.limiter;
      if (limiters.size >= KEYS_LIMIT) limiters.clear();
      const limiter = isSame(known?.limit, limit)
        ? known?.limiter
        : createLimiter({ rateLimit: { ...limit, per: "caller" } });
      limiters.set(issued.id, { limit, limiter });
      return limiter;
    },
    async exceeded() {
      const states = await Promise.all(
        [...limiters].map(async ([id, { limiter }]) => {
          const state = await limiter?.peek({ callerId: id, address: "" });
          return state?.isExceeded ? [id] : [];
        }),
      );
      return states.flat();
    },
  };
}

function isSame(before: object | undefined, now: object): boolean {
  return before !== undefined && JSON.stringify(before) === JSON.stringify(now);
}
