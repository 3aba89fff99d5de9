/** The field Cache-Status (RFC 9211): what this cache did, beside what caches at the upstream did. */

const NAME = "ByteProxy";

type ForwardReason = "uri-miss" | "vary-miss" | "stale" | "request" | "method" | "bypass";

export const cacheStatus = {
  /** @param ttlMs negative for a stale response. */
  hit: (ttlMs: number) => `${NAME}; hit; ttl=${toSeconds(ttlMs)}`,
  forwarded: (reason: ForwardReason, isStored: boolean) => `${NAME}; fwd=${reason}${isStored ? "; stored" : ""}`,
  validated: (reason: ForwardReason) => `${NAME}; fwd=${reason}; fwd-status=304`,
  collapsed: (reason: ForwardReason) => `${NAME}; fwd=${reason}; collapsed`,
  /** A stale response in the place of an error. */
  failed: (ttlMs: number) => `${NAME}; hit; fwd=stale; ttl=${toSeconds(ttlMs)}; detail=error`,
  passed: (reason: "method" | "bypass") => `${NAME}; fwd=${reason}`,
};

/** An integer of Structured Fields has at most 15 digits (RFC 9651 section 3.3.1). */
function toSeconds(ms: number): number {
  return Math.max(-2_147_483_648, Math.min(2_147_483_647, Math.floor(ms / 1_000)));
}
