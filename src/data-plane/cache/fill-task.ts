/** What one request to the upstream is made for. */
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import type { PooledLookUp } from "./look-up.ts";
import type { CachedRequest } from "./reader.ts";
import type { ServiceCache } from "./service-cache.ts";
import type { StoredResponse } from "./stored-response.ts";

export interface FillTask {
  readonly cache: ServiceCache;
  /** The request that the fill is made for. */
  readonly cached: CachedRequest;
  /** As it is sent, with the conditions of the cache. */
  readonly request: UpstreamRequest;
  readonly key: string;
  readonly urlKey: string;
  /** The rules of shared caches apply. */
  readonly isShared: boolean;
  readonly hasOwnAuthorization: boolean;
  /** The name under which equal requests join; undefined where none may. */
  readonly sharedAs: string | undefined;
  /** The stored response that the request validates. */
  readonly entry: StoredResponse | undefined;
  /** Undefined for a single credential; otherwise the response is stored for the one that received it. */
  readonly pool: PooledLookUp | undefined;
  /** No client waits for it: the stored response was served. */
  readonly isBehind: boolean;
}
