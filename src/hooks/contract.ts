/**
 * The contract of user hooks: the types that a module named by MIDDLEWARE_PATH uses. The package exports them as `byteproxy/hooks`.
 * Invariant: this file imports nothing, so that its declarations are complete on their own; and no member holds a key of the gateway
 * or the credential of a service.
 */

/** One hook. The module's default export is one of these, or a list of them. */
export interface Hook {
  /** For the log, errors and `/status`: 1 to 64 letters, digits, `.`, `_`, `-`, `:` and `/`. Each hook has a name of its own. */
  readonly name: string;
  /**
   * Called once for each admitted request, before the credential is injected. It may change the request or refuse it.
   * A throw or a rejection is 500 INTERNAL_ERROR for this exchange alone.
   */
  onRequest?(request: HookRequest, caller: HookCaller): void | Promise<void>;
  /** Called for the upstream's final response, before its headers are sent to the client. It may change the status and the headers. */
  onResponse?(response: HookResponse): void | Promise<void>;
  /** Called when the exchange is over, also for a refused request. Its errors are logged and have no other effect. */
  onComplete?(summary: HookSummary): void | Promise<void>;
}

/** The authenticated caller. */
export interface HookCaller {
  /** As in the access log: `proxy-key`, `anonymous`, or the id of an issued key or token. */
  readonly id: string;
  /** The name of an issued key; undefined for other callers. */
  readonly name: string | undefined;
}

/** What a hook knows about the exchange. */
export interface HookExchange {
  /** The id in `X-Request-Id`, in errors and in the log. */
  readonly requestId: string;
  /** The key of the service. */
  readonly service: string;
  readonly method: string;
  /** The address of the client. */
  readonly clientAddress: string;
  /** Aborted when the client leaves or the hooks' time is over. Pass it to what the hook waits for. */
  readonly signal: AbortSignal;
}

/** The request as the upstream will receive it, without the caller's key and without the credential. */
export interface HookRequest extends HookExchange {
  /** The request is the handshake of a WebSocket. */
  readonly isWebSocket: boolean;
  /** The path after the service's base URL: `/users/octocat`, or empty for the base URL itself. A new path stays below the base URL. */
  path: string;
  /** The query without `?`; empty for none. */
  query: string;
  readonly headers: HookHeaders;
  /** Refuses the request: the client gets the status and the message, and the upstream gets nothing. No later hook runs. */
  refuse(status: number, options?: RefuseOptions): void;
}

export interface RefuseOptions {
  /** A sentence for the client, at most 500 characters. */
  readonly message?: string;
  /** What the client can do, at most 500 characters. */
  readonly hint?: string;
  /** A code of the hook's own for programs: the member `hookCode` of the body. Capital letters, digits and `_`, at most 64. */
  readonly code?: string;
}

/** The upstream's response as far as its head. */
export interface HookResponse extends HookExchange {
  /** Path and query of the request, as the upstream received them without the credential. */
  readonly path: string;
  readonly query: string;
  readonly caller: HookCaller;
  /** From 200 to 599. A status without a body (204, 205, 304) cannot be set and cannot be changed. */
  status: number;
  readonly headers: HookHeaders;
}

/**
 * Headers that a hook may read and change. Names are compared without regard to case. A value that is or may be a secret is shown
 * as `***`. A change that the gateway does not allow throws a TypeError.
 */
export interface HookHeaders extends Iterable<readonly [name: string, value: string]> {
  /** All values, joined by commas; undefined for an absent header. */
  get(name: string): string | undefined;
  getAll(name: string): string[];
  has(name: string): boolean;
  /** Replaces all values. */
  set(name: string, value: string): void;
  append(name: string, value: string): void;
  delete(name: string): void;
}

/** The fields of the access line; docs/monitoring.md describes them. */
export interface HookSummary {
  /** ms since the epoch. */
  readonly time: number;
  readonly requestId: string;
  /** Empty where the request was refused before a service was found. */
  readonly service: string;
  readonly method: string;
  /** Only of a request to a service's own host or port. */
  readonly host?: string;
  /** Path and query as received, with secrets masked. */
  readonly path: string;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationUs: number;
  readonly upstreamUs: number;
  readonly queuedUs: number;
  readonly quota: string;
  readonly attempts: number;
  readonly client: string;
  readonly caller: string;
  /** `relayed`, `refused:<code>`, `failed:<code>` or `client-left`. */
  readonly outcome: string;
}
