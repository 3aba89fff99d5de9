/** Finds what the cache has for a request. It changes nothing but the order of use. */
import type { CredentialPool, CredentialProvider, PoolMember } from "../credential/credential-provider.ts";
import type { Exchange } from "../exchange.ts";
import type { ServiceQuota } from "../quota/service-quota.ts";
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
  /** Undefined for a single credential. */
  readonly pool: PooledLookUp | undefined;
}

export interface PooledLookUp {
  /** The credential whose response is stored: only with this one is it validated. Undefined where nothing usable is stored. */
  readonly pinned: PoolMember | undefined;
  /** The key of a response that this credential received. */
  keyOf(member: PoolMember): string;
}

export type LookedFor = Pick<CachedRequest, "request" | "rules"> & {
  readonly exchange: Pick<Exchange, "callerId" | "method" | "voter">;
  readonly route: {
    readonly path: string;
    readonly prepared: {
      readonly credential: Pick<CredentialProvider, "sourceId" | "pool">;
      readonly quota: Pick<ServiceQuota, "isFree"> | undefined;
    };
  };
};

export function lookUp(cache: ServiceCache, looked: LookedFor): LookedUp {
  const { exchange, route, request } = looked;
  const { sourceId, pool } = route.prepared.credential;
  if (pool !== undefined) return lookUpInPool(cache, pool, looked);
  const isShared = sourceId === undefined;
  const key = cache.keys.keyOf({ id: sourceId ?? exchange.callerId, isShared }, request);
  return find(cache, key, looked, isShared ? SHARED : OF_ONE_CREDENTIAL);
}

/**
 * The caller may get the response of any credential that could be chosen for it. A stored one is validated only with its own
 * credential, because the entity tags of two accounts may be equal by chance.
 */
function lookUpInPool(cache: ServiceCache, pool: CredentialPool, looked: LookedFor): LookedUp {
  const { exchange, route, request } = looked;
  const keyOf = ({ sourceId }: PoolMember) => cache.keys.keyOf({ id: sourceId, isShared: false }, request);
  const usable = pool.usable(exchange.voter);
  let best: LookedUp | undefined;
  for (const member of pool.members) {
    if (!usable.includes(member)) continue;
    const found = find(cache, keyOf(member), looked, { isShared: false, pool: { pinned: member, keyOf } });
    if (found.entry === undefined || PREFERENCE[found.judgement] >= PREFERENCE[best?.judgement ?? "none"]) continue;
    const asked = { method: exchange.method, path: route.path };
    const isOfUse = found.judgement !== "validate" || (route.prepared.quota?.isFree(member, asked) ?? true);
    if (isOfUse) best = found;
  }
  if (best !== undefined) return best;
  const key = cache.keys.keyOf({ id: pool.id, isShared: false }, request);
  return find(cache, key, looked, { isShared: false, pool: { pinned: undefined, keyOf } });
}

/** The smallest first. */
const PREFERENCE: Readonly<Record<Judgement | "none", number>> = {
  fresh: 0,
  stale: 1,
  "revalidate-behind": 2,
  validate: 3,
  none: 4,
};

type Partitioned = Pick<LookedUp, "isShared" | "pool">;

const SHARED: Partitioned = { isShared: true, pool: undefined };
const OF_ONE_CREDENTIAL: Partitioned = { isShared: false, pool: undefined };

function find(
  cache: ServiceCache,
  key: string,
  { exchange, request, rules }: LookedFor,
  { isShared, pool }: Partitioned,
): LookedUp {
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
    pool,
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
