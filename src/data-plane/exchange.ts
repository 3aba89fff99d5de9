/**
 * One request and what has been learned about it.
 * Invariant: it owns the client's pair, `req` and `res`, and is the only place that knows whether the client is still there.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { performance } from "node:perf_hooks";
import type { FoundKey } from "../callers/key-index.ts";
import { LONGEST_TIMER_MS } from "../config/schema.ts";
import type { LimitState } from "../limits/limiters.ts";
import { hasBody } from "../perimeter/framing.ts";
import type { Slots } from "../pressure/slots.ts";
import type { CredentialRefusals } from "./credential-refusals.ts";
import type { QuotaPass } from "./quota/pass-contract.ts";
import type { ServiceTimes } from "./service-times.ts";

export class Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly id: string;
  readonly method: string;
  readonly clientAddress: string;
  /** performance.now() at arrival, ms. */
  readonly startedAt: number;

  serviceKey = "";
  callerId = "";
  /** The issued key of its caller. */
  issued: FoundKey | undefined;
  attempts = 0;
  /** ms that it waited for the upstream's quota; 0 when it did not have to. */
  queuedMs = 0;
  /** ms that it waited for a connection to the upstream, over all attempts; its deadline does not count it. */
  connectionWaitMs = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** performance.now() at the upstream's headers, 0 before. */
  answeredAt = 0;
  /** `relayed`, `refused:<code>`, `failed:<code>`, `client-left` or `preflight`. */
  outcome = "";
  limit: LimitState | undefined;
  /** Through the upstream's quota; undefined where nobody asks for that. */
  quota: QuotaPass | undefined;
  /** Of the credential that was put on; undefined where none was. */
  credentialRefusals: CredentialRefusals | undefined;
  /** Of the service that it was let in to. */
  times: ServiceTimes | undefined;
  /** The connection cannot carry another request: the answer says so and the socket is closed behind it. */
  closesConnection = false;

  /** Places held until the exchange is over. */
  #gatewaySlots: Slots | undefined;
  #serviceSlots: Slots | undefined;
  #webSocketSlots: readonly Slots[] | undefined;
  #isAside = false;
  #hasClientLeft = false;
  #onClose: (() => void) | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, id: string, clientAddress: string) {
    this.req = req;
    this.res = res;
    this.id = id;
    this.method = req.method as string;
    this.clientAddress = clientAddress;
    this.startedAt = performance.now();
    res.on("close", () => {
      this.#hasClientLeft = !res.writableFinished;
      this.#onClose?.();
    });
  }

  /** Takes a place among all proxied requests; to be asked for only where there is one. */
  enterGateway(slots: Slots): void {
    slots.taken++;
    this.#gatewaySlots = slots;
  }

  /** Takes a place among the requests of one service. */
  enterService(slots: Slots): void {
    slots.taken++;
    this.#serviceSlots = slots;
  }

  /** Takes a place among all WebSockets and among those of one service, kept also while it waits. */
  enterWebSockets(...slots: Slots[]): void {
    for (const each of slots) each.taken++;
    this.#webSocketSlots = slots;
  }

  /** Gives the places back for as long as it waits. */
  stepAside(): void {
    if (this.#isAside) return;
    this.#isAside = true;
    this.#gatewaySlots?.release();
    if (this.#serviceSlots === undefined) return;
    this.#serviceSlots.release();
    this.#serviceSlots.waiting++;
  }

  /**
   * Takes them again as soon as there are any; at once where it did not step aside, and when the client has left.
   * @param patienceMs how long it waits at most, over all that it waited for. @returns false where there were none in time.
   */
  async stepIn(patienceMs: number): Promise<boolean> {
    if (!this.#isAside) return true;
    for (let full = this.#fullSlots(); full !== undefined && !this.#hasClientLeft; full = this.#fullSlots()) {
      if (patienceMs <= this.queuedMs) return false;
      const since = performance.now();
      await this.#freed(full, patienceMs - this.queuedMs);
      this.queuedMs += performance.now() - since;
    }
    this.#isAside = false;
    if (this.#gatewaySlots !== undefined) this.#gatewaySlots.taken++;
    if (this.#serviceSlots === undefined) return true;
    this.#serviceSlots.taken++;
    this.#serviceSlots.waiting--;
    return true;
  }

  #fullSlots(): Slots | undefined {
    return [this.#gatewaySlots, this.#serviceSlots].find((slots) => slots?.isFull);
  }

  #freed(slots: Slots, withinMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        stop();
        clearTimeout(timer);
        this.onClose = undefined;
        resolve();
      };
      const stop = slots.onFree(end);
      const timer = setTimeout(end, Math.min(withinMs, LONGEST_TIMER_MS));
      this.onClose = end;
    });
  }

  /** Gives the places back; the last thing that happens to an exchange. */
  leave(): void {
    if (!this.#isAside) {
      this.#gatewaySlots?.release();
      this.#serviceSlots?.release();
    } else if (this.#serviceSlots !== undefined) this.#serviceSlots.waiting--;
    if (this.#webSocketSlots !== undefined) for (const slots of this.#webSocketSlots) slots.release();
    this.#webSocketSlots = undefined;
    this.#isAside = false;
    this.#gatewaySlots = undefined;
    this.#serviceSlots = undefined;
  }

  /** ms that it waited in any queue. */
  get waitedMs(): number {
    return this.queuedMs + this.connectionWaitMs;
  }

  /** What the deadlines of the service count from: waiting is counted apart. On the clock of performance.now(), ms. */
  get dueFrom(): number {
    return this.startedAt + this.queuedMs;
  }

  /** The answer was not handed over whole and never will be. */
  get hasClientLeft(): boolean {
    return this.#hasClientLeft;
  }

  /** Called once when the answer is handed over whole, or the client has left; at most one listener at a time. */
  set onClose(listener: (() => void) | undefined) {
    this.#onClose = listener;
    if (listener !== undefined && this.res.closed) listener();
  }

  /** The client waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1). */
  get expectsContinue(): boolean {
    return this.req.headers.expect !== undefined;
  }

  /** A request body was announced. */
  get hasBody(): boolean {
    return hasBody(this.req);
  }

  /** The request has not wholly arrived. */
  get isUploading(): boolean {
    return this.hasBody && !this.req.complete;
  }

  /** Bytes announced by Content-Length; undefined for a chunked body. */
  get announcedBytes(): number | undefined {
    const length = this.req.headers["content-length"];
    return length === undefined ? undefined : Number(length);
  }
}
