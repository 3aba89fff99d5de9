/** Finds what the cache has for a request. It changes nothing but the order of use. */
import type { Exchange } from "../exchange.ts";
import { headerOf, type KeyedRequest } from "./cache-key.ts";
import { type Judgement, judgeEntry } from "./judge-entry.ts";
import type { CachedRequest } from "./reader.ts";
import type { RequestRules } from "./request-rules.ts";
import type { ServiceCache } from "./service-cache.ts";
import type { StoredResponse } from "./stored-response.ts";
import { varianceOf } from "./variance.ts";

export interface LookedUp {
  readonly key: string;
  /** Undefined where nothing usable is stored. */
  readonly entry: StoredResponse | undefined;
  readonly judgement: Judgement;
  /** The rules of shared caches apply. */
  readonly isShared: boolean;
  /** The name under which equal requests to the upstream are joined; undefined for one that is sent by itself. */
  readonly sharedAs: string | undefined;
}

export type LookedFor = Pick<CachedRequest, "request" | "rules"> & {
  readonly exchange: Pick<Exchange, "callerId" | "method">;
  readonly route: {
    readonly prepared: { readonly credential: { readonly sourceId: string | undefined } };
  };
};

export function lookUp(cache: ServiceCache, { exchange, route, request, rules }: LookedFor): LookedUp {
  const { sourceId } = route.prepared.credential;
  const isShared = sourceId === undefined;
  const key = cache.keys.keyOf({ id: sourceId ?? exchange.callerId, isShared }, request);
  const stored = cache.store.find(key);
  const entry = stored.find(({ varies, variance }) => varies.length === 0 || varianceOf(varies, request) === variance);
  const now = cache.clock.now();
  const judgement = entry === undefined ? "validate" : judgeEntry(entry, rules, now, cache.settings.revalidate);
  return {
    key,
    // One without a validator is of use while it may be served, also in the place of an error.
    entry,
    judgement,
    isShared,
    sharedAs:
      judgement === "fresh" || judgement === "stale"
        ? undefined
        : nameOf(cache, key, { exchange, request, rules, entry }),
  };
}

interface Naming {
  readonly request: KeyedRequest;
  readonly exchange: Pick<Exchange, "method">;
  readonly rules: RequestRules;
  readonly entry: StoredResponse | undefined;
}

/** A request that asks for something of its own, a part or a new response, is sent by itself. */
function nameOf(cache: ServiceCache, key: string, { exchange, request, rules, entry }: Naming): string | undefined {
  if (exchange.method !== "GET" || rules.range !== undefined) return undefined;
  // Its response is not shared, so that the others would wait for it in vain.
  if (headerOf(request, "accept")?.toLowerCase().includes("text/event-stream")) return undefined;
  if (rules.demandsValidation || rules.forbidsStoring || rules.maxAgeMs !== Number.POSITIVE_INFINITY) return undefined;
  // The client's own conditions are sent unless those of a stored response take their place.
  const conditions =
    entry !== undefined ? entry.variance : `${rules.ifNoneMatch ?? ""}\n${rules.ifModifiedSince ?? ""}`;
  const name = `${key}\n${conditions}`;
  return cache.mayShare(name) ? name : undefined;
}
