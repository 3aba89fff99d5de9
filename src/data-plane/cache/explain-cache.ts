/** What the cache would do with a request, for an explanation: it stores and sends nothing. */
import { type Asking, whyPasses } from "./forward-through-cache.ts";
import { type LookedFor, lookUp } from "./look-up.ts";
import { readRequestRules } from "./request-rules.ts";
import type { ServiceCache } from "./service-cache.ts";
import { ageMsOf } from "./stored-response.ts";

export interface ExplainedCache {
  readonly state: "hit" | "stale" | "validate" | "miss" | "bypass";
  /** s; null where nothing is stored. */
  readonly age: number | null;
}

type Explained = Omit<LookedFor, "rules"> & Omit<Asking, "rules">;

export function explainCache(cache: ServiceCache, { exchange, route, request }: Explained): ExplainedCache {
  const rules = readRequestRules(request);
  if (whyPasses({ exchange, route, request, rules }) !== undefined) return { state: "bypass", age: null };
  const { entry, judgement } = lookUp(cache, { exchange, route, request, rules });
  if (entry === undefined) return { state: "miss", age: null };
  const age = Math.min(2_147_483_647, Math.floor(ageMsOf(entry, cache.clock.now()) / 1_000));
  if (judgement === "validate") return { state: "validate", age };
  return { state: judgement === "fresh" ? "hit" : "stale", age };
}
