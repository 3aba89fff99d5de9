/**
 * The onRequest hooks of one exchange: after the client's request was stripped, before the credential exists.
 * Invariant: a changed request is judged by the caller's permissions again; a hook cannot add what the gateway strips.
 */
import { performance } from "node:perf_hooks";
import type { Callers } from "../callers/callers.ts";
import type { GatewayError } from "../errors.ts";
import { RequestDraft } from "../hooks/request-draft.ts";
import type { UserHooks } from "../hooks/user-hooks.ts";
import { isWebSocketUpgrade } from "../perimeter/framing.ts";
import type { Exchange } from "./exchange.ts";
import { requestRules } from "./forward/hook-rules.ts";
import { changeUpstreamRequest, type UpstreamRequest } from "./forward/upstream-request.ts";
import { describeExchange, hookCaller } from "./hook-view.ts";
import type { Route } from "./identify.ts";

export interface RequestToForward {
  readonly route: Route;
  readonly request: UpstreamRequest;
}

export interface HookedRequest extends RequestToForward {
  /** Flat list of the headers that hooks set; undefined where they changed nothing that a permission depends on. */
  readonly added: readonly string[] | undefined;
}

/** @returns the request as the hooks left it, or the refusal of one of them. @throws HookError */
export async function runRequestHooks(
  hooks: UserHooks,
  exchange: Exchange,
  { route, request }: RequestToForward,
  { isOwnKey }: Pick<Callers, "isOwnKey">,
): Promise<HookedRequest | GatewayError> {
  const { prepared } = route;
  const abort = new AbortController();
  const queryAt = request.path.indexOf("?");
  const prepare = {
    exchange: describeExchange(exchange, abort.signal),
    isWebSocket: isWebSocketUpgrade(exchange.req),
    path: route.path,
    query: queryAt === -1 ? undefined : request.path.slice(queryAt + 1),
    headers: request.headers,
  };
  const draft = new RequestDraft(prepare, requestRules(prepared, isOwnKey));
  const { timeoutMs, key: service } = prepared.service;
  const since = performance.now();
  const pending = hooks.onRequest(draft, hookCaller(exchange), { requestId: exchange.id, service, timeoutMs, abort });
  try {
    if (pending !== undefined) {
      exchange.onClose = () => abort.abort();
      await pending;
    }
  } finally {
    exchange.onClose = undefined;
    exchange.hooksMs += performance.now() - since;
    draft.seal();
  }
  return draft.refusal ?? changedBy(draft, { route, request });
}

function changedBy(draft: RequestDraft, { route, request }: RequestToForward): HookedRequest {
  const { isTargetChanged, headers, path, query } = draft;
  if (!isTargetChanged && !headers.isChanged) return { route, request, added: undefined };
  const changed = isTargetChanged ? { ...route, path, query } : route;
  const flat = headers.seal();
  return {
    route: changed,
    request: changeUpstreamRequest(request, changed, isTargetChanged, flat),
    added: addedTo(request.headers, flat),
  };
}

function addedTo(before: readonly string[], after: readonly string[]): string[] {
  const had = new Set<string>();
  for (let i = 0; i < before.length; i += 2) had.add(`${before[i]}: ${before[i + 1]}`);
  return after.filter((_, i) => !had.has(`${after[i - (i % 2)]}: ${after[i - (i % 2) + 1]}`));
}
