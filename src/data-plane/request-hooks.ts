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
  /**
   * Flat list of the headers that the client or a hook wrote; undefined where hooks changed nothing that a permission depends on. Those of
   * the configuration are the operator's.
   */
  readonly judged: readonly string[] | undefined;
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
  return draft.refusal ?? changedBy(draft, { route, request }, exchange.req.rawHeaders);
}

function changedBy(
  draft: RequestDraft,
  { route, request }: RequestToForward,
  fromClient: readonly string[],
): HookedRequest {
  const { isTargetChanged, headers, path, query } = draft;
  if (!isTargetChanged && !headers.isChanged) return { route, request, judged: undefined };
  const changed = isTargetChanged ? { ...route, path, query } : route;
  const flat = headers.seal();
  return {
    route: changed,
    request: changeUpstreamRequest(request, changed, isTargetChanged, flat),
    judged: withoutConfigured(flat, request.headers, fromClient),
  };
}

/** @param before the headers before the hooks: the client's, and those of the configuration. */
function withoutConfigured(
  headers: readonly string[],
  before: readonly string[],
  fromClient: readonly string[],
): readonly string[] {
  const configured = linesOf(before);
  for (const line of linesOf(fromClient)) configured.delete(line);
  return headers.filter((_, i) => !configured.has(lineAt(headers, i - (i % 2))));
}

function linesOf(headers: readonly string[]): Set<string> {
  const lines = new Set<string>();
  for (let i = 0; i < headers.length; i += 2) lines.add(lineAt(headers, i));
  return lines;
}

const lineAt = (headers: readonly string[], at: number) => `${headers[at]}: ${headers[at + 1]}`;
