/** What the cache would do with a request, for an explanation: it stores and sends nothing. */
import type { UpstreamRequest } from "../forward/upstream-request.ts";
import { whyPasses } from "./forward-through-cache.ts";
import { type LookedFor, lookUp } from "./look-up.ts";
import { readRequestRules } from "./request-rules.ts";
import type { ServiceCache } from "./service-cache.ts";
import { ageMsOf } from "./stored-response.ts";

export interface ExplainedCache {
  readonly state: "hit" | "stale" | "validate" | "miss" | "bypass";
  /** s; null where nothing is stored. */
  readonly age: number | null;
}

type Explained = Pick<LookedFor, "route"> & {
  readonly exchange: LookedFor["exchange"] & { readonly hasBody: boolean };
  readonly request: UpstreamRequest;
};

export function explainCache(cache: ServiceCache, { exchange, route, request }: Explained): ExplainedCache {
  const rules = readRequestRules(request);
  if (whyPasses(exchange, request, rules) !== undefined) return { state: "bypass", age: null };
  const { entry, judgement } = lookUp(cache, { exchange, route, request, rules });
  if (entry === undefined) return { state: "miss", age: null };
  const age = Math.min(2_147_483_647, Math.floor(ageMsOf(entry, cache.clock.now()) / 1_000));
  if (judgement === "validate") return { state: "validate", age };
  return { state: judgement === "fresh" ? "hit" : "stale", age };
}
