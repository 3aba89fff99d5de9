/**
 * The request that onRequest hooks see and change, and the gateway's side of it.
 * Invariant: a hook gets a frozen view without a way to this draft; each change is checked when it is made.
 */
import { GatewayError } from "../errors.ts";
import type { HookExchange, HookRequest, RefuseOptions } from "./contract.ts";
import { EditableHeaders, type HeaderRules, typeOf } from "./editable-headers.ts";

export interface RequestRules extends HeaderRules {
  /** Why the path cannot be requested; undefined where it can. */
  readonly pathFault: (path: string) => string | undefined;
  readonly queryFault: (query: string) => string | undefined;
  /** A text for the client without the secrets of the service. */
  readonly mask: (text: string) => string;
}

export interface PreparedRequest {
  readonly exchange: HookExchange;
  readonly isWebSocket: boolean;
  readonly path: string;
  readonly query: string | undefined;
  /** A flat list. */
  readonly headers: readonly string[];
}

/** Visible characters and bytes above ASCII. A `?` would begin a query, a `#` is never sent. */
const PATH = /^(?:\/[\x21\x22\x24-\x3e\x40-\x7e\x80-\xff]*)?$/;
const QUERY = /^[\x21\x22\x24-\x7e\x80-\xff]*$/;
/** Together with the rest of the head, an upstream would refuse more. */
const TARGET_LENGTH_LIMIT = 16_384;

export class RequestDraft {
  readonly view: HookRequest;
  readonly headers: EditableHeaders;
  path: string;
  query: string | undefined;
  /** Set by the hook. */
  refusal: GatewayError | undefined;
  isTargetChanged = false;
  #isSealed = false;
  readonly #rules: RequestRules;

  constructor({ exchange, isWebSocket, path, query, headers }: PreparedRequest, rules: RequestRules) {
    this.path = path;
    this.query = query;
    this.headers = new EditableHeaders(headers, rules);
    this.#rules = rules;
    this.view = this.#createView(exchange, isWebSocket);
  }

  /** From now on a change throws. */
  seal(): void {
    this.#isSealed = true;
    this.headers.seal();
  }

  #createView(exchange: HookExchange, isWebSocket: boolean): HookRequest {
    const draft = this;
    return Object.freeze({
      ...exchange,
      isWebSocket,
      headers: this.headers.view,
      get path() {
        return draft.path;
      },
      set path(path: string) {
        draft.#checkTarget("path", path, PATH, draft.#rules.pathFault);
        draft.path = path;
      },
      get query() {
        return draft.query ?? "";
      },
      set query(query: string) {
        draft.#checkTarget("query", query, QUERY, draft.#rules.queryFault);
        draft.query = query === "" ? undefined : query;
      },
      refuse: (status: number, options?: RefuseOptions) => draft.#refuse(status, options),
    });
  }

  /** @throws TypeError */
  #checkTarget(name: string, value: unknown, form: RegExp, faultOf: (text: string) => string | undefined): void {
    this.#checkOpen();
    if (typeof value !== "string") throw new TypeError(`The ${name} must be a string, not ${typeOf(value)}.`);
    if (value.length > TARGET_LENGTH_LIMIT || !form.test(value)) {
      const allowed = name === "path" ? "empty, or begins with / and has no ?, # or space" : "has no # or space";
      throw new TypeError(`The new ${name} is not valid: a ${name} ${allowed}. Percent-encode other characters.`);
    }
    const fault = faultOf(value);
    if (fault !== undefined) throw new TypeError(`The new ${name} is not allowed: ${fault}`);
    this.isTargetChanged = true;
  }

  #refuse(status: number, options: RefuseOptions = {}): void {
    this.#checkOpen();
    if (!Number.isInteger(status) || status < 400 || status > 599) {
      throw new TypeError("The status of a refusal must be an integer from 400 to 599.");
    }
    const message = textOf("message", options?.message);
    const hint = textOf("hint", options?.hint);
    const code = textOf("code", options?.code);
    if (code !== undefined && !/^[A-Z][A-Z0-9_]{0,63}$/.test(code)) {
      throw new TypeError("The code of a refusal must have 1 to 64 capital letters, digits and _.");
    }
    const { mask } = this.#rules;
    // The first refusal decides.
    this.refusal ??= new GatewayError("REFUSED_BY_HOOK", {
      status,
      ...(message === undefined ? {} : { message: mask(message) }),
      ...(hint === undefined ? {} : { hint: mask(hint) }),
      ...(code === undefined ? {} : { extra: { hookCode: code } }),
    });
  }

  #checkOpen(): void {
    if (this.#isSealed) throw new TypeError("The request can no longer be changed: this step of the exchange is over.");
  }
}

function textOf(name: string, value: unknown): string | undefined {
  if (value === undefined) return undefined;
  if (typeof value === "string" && value.length > 0 && value.length <= 500) return value;
  throw new TypeError(`The ${name} of a refusal must be a string of 1 to 500 characters.`);
}
