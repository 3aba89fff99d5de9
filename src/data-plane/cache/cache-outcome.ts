/** What the cache did with a request. */
export interface CacheOutcome {
  readonly state: "hit" | "miss" | "revalidated" | "stale" | "coalesced" | "bypass";
  /** The parameters of Cache-Status (RFC 9211) after the name of the cache. */
  readonly status: string;
}
