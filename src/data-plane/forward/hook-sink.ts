/**
 * Between an attempt and the relay: runs the onResponse hooks on the head of the response.
 * Invariant: every rule of the relay applies after the hooks, to what they made of the head; and while a hook is awaited, nothing is
 * sent, the upstream is paused, and a client that leaves ends the wait.
 */
import { performance } from "node:perf_hooks";
import { GatewayError } from "../../errors.ts";
import { ResponseDraft } from "../../hooks/response-draft.ts";
import type { UserHooks } from "../../hooks/user-hooks.ts";
import type { Exchange } from "../exchange.ts";
import { describeExchange, hookCaller } from "../hook-view.ts";
import type { Route } from "../identify.ts";
import type { Deadline } from "./deadline.ts";
import { responseRules } from "./hook-rules.ts";
import type { Relay } from "./relay.ts";
import type { ClientSink, ResponseHead } from "./response-sink.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { Flow } from "./transport/transport-contract.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

interface HookedResponse {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly deadline: Pick<Deadline, "extend">;
}

export class HookSink implements ClientSink {
  readonly #relay: Relay;
  readonly #hooks: UserHooks;
  readonly #hooked: HookedResponse;
  readonly #strippedPath: string;
  #state: "waiting" | "passing" | "over" = "passing";
  /** What arrived while a hook was awaited: no more than one read from the socket. */
  readonly #held: (() => void)[] = [];

  /** @param request as the upstream received it. */
  constructor(
    relay: Relay,
    hooks: UserHooks,
    hooked: HookedResponse,
    { strippedPath }: Pick<UpstreamRequest, "strippedPath">,
  ) {
    this.#relay = relay;
    this.#hooks = hooks;
    this.#hooked = hooked;
    this.#strippedPath = strippedPath;
  }

  start(head: ResponseHead, flow: Flow): void {
    const { exchange, route, deadline } = this.#hooked;
    exchange.upstreamStatus = head.status;
    const abort = new AbortController();
    const draft = createDraft(head, this.#hooked, this.#strippedPath, abort.signal);
    const { timeoutMs } = route.prepared.service;
    const since = performance.now();
    const step = { requestId: exchange.id, service: exchange.serviceKey, timeoutMs, abort };
    const pass = () => {
      draft.seal();
      exchange.hooksMs += performance.now() - since;
      this.#relay.start(changedHead(head, draft), flow);
    };
    const pending = this.#hooks.onResponse(draft.view, step);
    if (pending === undefined) return pass();
    this.#state = "waiting";
    flow.pause();
    // The step has a limit of its own, and the upstream has responded in time.
    deadline.extend(timeoutMs + 1_000);
    exchange.onClose = () => {
      this.#end(flow, new Error("the client left"));
      abort.abort();
    };
    pending.then(
      () => this.#resume(flow, pass),
      (error: unknown) => this.#end(flow, GatewayError.from(error)),
    );
  }

  write(chunk: Buffer): void {
    this.#passOn(() => this.#relay.write(chunk));
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    this.#passOn(() => this.#relay.end(trailers, last));
  }

  abort(error: GatewayError): void {
    if (this.#state === "passing") return this.#relay.abort(error);
    if (this.#state === "over") return;
    this.#state = "over";
    this.#relay.giveUp(error);
  }

  get closed(): Promise<void> {
    return this.#relay.closed;
  }

  get isClientSlow(): boolean {
    return this.#relay.isClientSlow;
  }

  dropClient(): void {
    this.#relay.dropClient();
  }

  #passOn(event: () => void): void {
    if (this.#state === "passing") event();
    else if (this.#state === "waiting") this.#held.push(event);
  }

  #resume(flow: Flow, pass: () => void): void {
    if (this.#state === "over") return;
    try {
      pass();
    } catch (error) {
      return this.#end(flow, GatewayError.from(error));
    }
    this.#state = "passing";
    for (const event of this.#held) event();
    // A slow client resumes it itself.
    if (!this.#relay.isClientSlow) flow.resume();
  }

  /** Nothing was sent to the client. @param reason a GatewayError becomes the response. */
  #end(flow: Flow, reason: Error): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#hooked.exchange.onClose = undefined;
    flow.abort(reason);
    this.#relay.giveUp(reason instanceof GatewayError ? reason : undefined);
  }
}

function createDraft(
  { status, headers }: ResponseHead,
  { exchange, route: { prepared, path } }: HookedResponse,
  strippedPath: string,
  signal: AbortSignal,
): ResponseDraft {
  const queryAt = strippedPath.indexOf("?");
  const flat: string[] = [];
  for (const name in headers) for (const value of [headers[name] ?? []].flat()) flat.push(name, value);
  const received = {
    exchange: describeExchange(exchange, signal),
    caller: hookCaller(exchange),
    path,
    // Not the route's: that has the client's key.
    query: queryAt === -1 ? "" : strippedPath.slice(queryAt + 1),
    status,
    headers: flat,
  };
  return new ResponseDraft(received, responseRules(prepared));
}

/** The same head where no hook changed it. */
function changedHead(head: ResponseHead, { status, headers }: ResponseDraft): ResponseHead {
  if (status === head.status && !headers.isChanged) return head;
  return {
    status,
    // The upstream's own belongs to its status.
    reason: status === head.status ? head.reason : "",
    headers: headers.isChanged ? fieldsOf(headers.seal()) : head.headers,
  };
}

function fieldsOf(flat: readonly string[]): ResponseHeaders {
  const fields: ResponseHeaders = Object.create(null);
  for (let i = 0; i < flat.length; i += 2) {
    const name = (flat[i] as string).toLowerCase();
    const before = fields[name];
    fields[name] = before === undefined ? (flat[i + 1] as string) : [before, flat[i + 1] as string].flat();
  }
  return fields;
}
