/**
 * The upstream's response that onResponse hooks see and change, and the gateway's side of it.
 * Invariant: the status cannot make a body appear or disappear, because the framing of the response is decided by the upstream.
 */
import type { HookCaller, HookExchange, HookResponse } from "./contract.ts";
import { EditableHeaders, type HeaderRules } from "./editable-headers.ts";

export interface ReceivedResponse {
  readonly exchange: HookExchange;
  readonly caller: HookCaller;
  readonly path: string;
  readonly query: string;
  readonly status: number;
  /** A flat list. */
  readonly headers: readonly string[];
}

/** RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

export class ResponseDraft {
  readonly view: HookResponse;
  readonly headers: EditableHeaders;
  status: number;
  #isSealed = false;

  constructor({ exchange, caller, path, query, status, headers }: ReceivedResponse, rules: HeaderRules) {
    const draft = this;
    this.status = status;
    this.headers = new EditableHeaders(headers, rules);
    this.view = Object.freeze({
      ...exchange,
      caller,
      path,
      query,
      headers: this.headers.view,
      get status() {
        return draft.status;
      },
      set status(changed: number) {
        draft.#setStatus(changed);
      },
    });
  }

  /** From now on a change throws. */
  seal(): void {
    this.#isSealed = true;
    this.headers.seal();
  }

  /** @throws TypeError */
  #setStatus(status: number): void {
    if (this.#isSealed)
      throw new TypeError("The response can no longer be changed: this step of the exchange is over.");
    if (!Number.isInteger(status) || status < 200 || status > 599) {
      throw new TypeError("The status of a response must be an integer from 200 to 599.");
    }
    if (status !== this.status && (WITHOUT_BODY.has(status) || WITHOUT_BODY.has(this.status))) {
      throw new TypeError(`The status ${this.status} cannot become ${status}: one of them has no body.`);
    }
    this.status = status;
  }
}
