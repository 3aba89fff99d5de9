/**
 * One request and its response, and what is known about them.
 * Invariant: it owns the client's pair, `req` and `res`, and is the only place that knows whether the client is still connected.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { performance } from "node:perf_hooks";
import type { FoundKey } from "../callers/key-index.ts";
import type { TokenVerdicts } from "../callers/presented-tokens.ts";
import { LONGEST_TIMER_MS } from "../config/schema.ts";
import type { ServiceAddress } from "../config/service-addresses.ts";
import type { LimitState } from "../limits/limit-state.ts";
import { hasBody } from "../perimeter/framing.ts";
import type { Slots } from "../pressure/slots.ts";
import type { CacheOutcome } from "./cache/cache-outcome.ts";
import type { PoolUse } from "./credential/credential-provider.ts";
import type { CredentialRefusals } from "./credential-refusals.ts";
import type { ExchangeTrace } from "./exchange-trace.ts";
import type { Destination } from "./forward/response-sink.ts";
import type { QuotaOutcome, QuotaPass } from "./quota/pass-contract.ts";
import type { ServiceTimes } from "./service-times.ts";
import type { Spend } from "./spend/spend.ts";

const NO_PATHS: readonly string[] = [];

export class Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly id: string;
  readonly method: string;
  readonly clientAddress: string;
  /** A key of the gateway is in the URL: a page that a browser shows must not pass it on. */
  isKeyInUrl = false;
  /** The request announced a body. */
  readonly hasBody: boolean;
  /** performance.now() at arrival, ms. */
  readonly startedAt: number;

  /** The request target, as the log and errors show it: without what stands in the place of a credential. */
  url: string;
  /** The service's own host or port; undefined for a request under `/proxy/<key>`. */
  address: ServiceAddress | undefined;
  serviceKey = "";
  callerId = "";
  /** Whose share of the upstream's connections it uses: the caller's. Empty where only one caller may use the service. */
  party = "";
  /** Whose failures the breaker counts together: anonymous callers are one, because their addresses are cheap. Empty as above. */
  voter = "";
  /** The caller's issued key or token; undefined for other callers. */
  issued: FoundKey | undefined;
  /** Undefined if no token had to be verified. */
  tokenVerdicts: TokenVerdicts | undefined;
  attempts = 0;
  /** Bytes of the request may have reached the upstream. */
  wasSent = false;
  /** Undefined unless LOG_LEVEL is `debug` or `trace`. */
  trace: ExchangeTrace | undefined;
  /** The wait for a rate limit of the gateway, ms. */
  limitWaitMs = 0;
  /** The same, also where another exchange waited for it: a caller's `Prefer: wait` limits it together with the wait for the quota. */
  earlierWaitMs = 0;
  /** The wait for the upstream's quota, ms. */
  queuedMs = 0;
  /** The wait for connections to the upstream over all attempts, ms; the deadline does not count it. */
  connectionWaitMs = 0;
  /** The time of user hooks, ms; the deadline and the upstream's time do not count it. */
  hooksMs = 0;
  /** The status that the upstream sent, where hooks may change it; 0 elsewhere. */
  upstreamStatus = 0;
  bytesIn = 0;
  /** Read before the request was admitted; undefined for every other body. */
  body: Buffer | undefined;
  /** The gateway added something to `body`. */
  isBodyChanged = false;
  /** performance.now() when `body` was complete, less the wait for the rate limit that was over before; 0 while there is none. */
  bodyReadAt = 0;
  bytesOut = 0;
  /** performance.now() at the upstream's headers, 0 before. */
  respondedAt = 0;
  /** `relayed`, `refused:<code>`, `failed:<code>`, `client-left` or `preflight`. */
  outcome = "";
  limit: LimitState | undefined;
  /** Undefined where no budget counts the exchange and its model is not restricted. */
  spend: Spend | undefined;
  /** Undefined where the response goes to the client of this exchange. */
  destination: Destination | undefined;
  /** What the cache did with the request; undefined for a service without a cache. */
  cache: CacheOutcome | undefined;
  /** Undefined for a request without a key that counts. `first`: it was sent, or refused; the others: docs/idempotency.md. */
  idempotency: "first" | "replayed" | "conflict" | "mismatch" | undefined;
  /** Undefined unless the service holds requests for their quota. */
  quota: QuotaPass | undefined;
  quotaOutcome: QuotaOutcome = "none";
  /** The credential of a pool that was chosen for the latest attempt, and the one to prefer. */
  poolUse: PoolUse | undefined;
  /** Of the credential in the latest attempt: an upstream repeats them in its links, also after the credential was renewed. */
  insertedPaths: readonly string[] = NO_PATHS;
  /** Of the injected credential; undefined where none is injected. */
  credentialRefusals: CredentialRefusals | undefined;
  /** Of the service that the request was admitted to. */
  times: ServiceTimes | undefined;
  /** The connection cannot carry another request: the response says so, and the socket is closed after it. */
  closesConnection = false;
  /** The client did not get the whole response and never will. */
  hasClientLeft = false;

  /** Finds an exchange that waits for the response of this one, whose slots it may use. */
  findLender: (() => Exchange | undefined) | undefined;

  #gatewaySlots: Slots | undefined;
  #serviceSlots: Slots | undefined;
  #webSocketSlots: readonly Slots[] | undefined;
  #hasReleasedSlots = false;
  #isOver = false;
  #onClose: (() => void) | undefined;

  constructor(req: IncomingMessage, res: ServerResponse, id: string, clientAddress: string) {
    this.req = req;
    this.res = res;
    this.id = id;
    this.method = req.method as string;
    this.url = req.url as string;
    this.clientAddress = clientAddress;
    this.hasBody = hasBody(req);
    this.startedAt = performance.now();
    res.on("close", () => {
      this.hasClientLeft = !res.writableFinished;
      this.#onClose?.();
    });
  }

  /** Takes a slot of all proxied requests; the caller checks first that one is free. */
  acquireGatewaySlot(slots: Slots): void {
    slots.taken++;
    this.#gatewaySlots = slots;
  }

  /** Takes a slot of one service's requests. */
  acquireServiceSlot(slots: Slots): void {
    slots.taken++;
    this.#serviceSlots = slots;
  }

  /** Takes a slot of all WebSockets and one of the service's WebSockets; `releaseSlots` keeps them. */
  acquireWebSocketSlots(...slots: Slots[]): void {
    for (const each of slots) each.taken++;
    this.#webSocketSlots = slots;
  }

  /** Releases the request's slots for as long as it waits. */
  releaseSlots(): void {
    if (this.#hasReleasedSlots) return;
    this.#hasReleasedSlots = true;
    this.#gatewaySlots?.release();
    if (this.#serviceSlots === undefined) return;
    this.#serviceSlots.release();
    this.#serviceSlots.waiting++;
  }

  /**
   * Takes the released slots again as soon as they are free; at once where none were released or the client has left.
   * @param maxWaitMs limits everything that the exchange waited for so far. @returns false where no slot became free in time.
   */
  async reacquireSlots(maxWaitMs: number): Promise<boolean> {
    if (!this.#hasReleasedSlots) return true;
    for (let full = this.#fullSlots(); full !== undefined && !this.hasClientLeft; full = this.#fullSlots()) {
      if (this.#borrowSlots(this.findLender?.())) return true;
      if (maxWaitMs <= this.queuedMs) return false;
      const since = performance.now();
      await this.#freed(full, maxWaitMs - this.queuedMs);
      this.queuedMs += performance.now() - since;
    }
    this.#hasReleasedSlots = false;
    if (this.#gatewaySlots !== undefined) this.#gatewaySlots.taken++;
    if (this.#serviceSlots === undefined) return true;
    this.#serviceSlots.taken++;
    this.#serviceSlots.waiting--;
    return true;
  }

  /** From now on the other one has released its slots, and this one has not: no count changes. */
  #borrowSlots(lender: Exchange | undefined): boolean {
    if (!lender?.hasSlots || lender.#serviceSlots !== this.#serviceSlots) return false;
    lender.#hasReleasedSlots = true;
    this.#hasReleasedSlots = false;
    return true;
  }

  get hasSlots(): boolean {
    return !this.#isOver && !this.#hasReleasedSlots && this.#serviceSlots !== undefined;
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

  /** Its slots belong to the other exchange from now on; they are released where that one is over. */
  giveSlots(to: Exchange): void {
    if (to.#isOver || this.#hasReleasedSlots) return this.end();
    to.#gatewaySlots = this.#gatewaySlots;
    to.#serviceSlots = this.#serviceSlots;
    this.#gatewaySlots = undefined;
    this.#serviceSlots = undefined;
  }

  /** An exchange for the same request whose response goes to another place than its client. @param res never written to. */
  detach(res: ServerResponse): Exchange {
    const detached = new Exchange(this.req, res, this.id, this.clientAddress);
    detached.url = this.url;
    detached.address = this.address;
    detached.serviceKey = this.serviceKey;
    detached.callerId = this.callerId;
    detached.party = this.party;
    detached.voter = this.voter;
    detached.issued = this.issued;
    detached.trace = this.trace;
    detached.earlierWaitMs = this.earlierWaitMs;
    detached.spend = this.spend;
    return detached;
  }

  /** What is known about the upstream's part is that of the other exchange. */
  adopt(other: Exchange): void {
    this.attempts = other.attempts;
    this.queuedMs = other.queuedMs;
    this.connectionWaitMs = other.connectionWaitMs;
    this.quotaOutcome = other.quotaOutcome;
    this.insertedPaths = other.insertedPaths;
  }

  /** Ends an exchange that has no client of its own, as if its client had left. */
  abandon(): void {
    this.hasClientLeft = true;
    this.#onClose?.();
  }

  /** The gateway cut the exchange at its own end: the client has not left. */
  noteShutdown(): void {
    this.outcome = "failed:SHUTTING_DOWN";
    if (!this.res.headersSent && this.res.statusCode !== 101) this.res.statusCode = 503;
  }

  /** Releases every slot; the last thing that happens to an exchange. */
  end(): void {
    this.#isOver = true;
    if (!this.#hasReleasedSlots) for (const slots of [this.#gatewaySlots, this.#serviceSlots]) slots?.release();
    else if (this.#serviceSlots !== undefined) this.#serviceSlots.waiting--;
    for (const slots of this.#webSocketSlots ?? []) slots.release();
    this.#webSocketSlots = undefined;
    this.#hasReleasedSlots = false;
    this.#gatewaySlots = undefined;
    this.#serviceSlots = undefined;
  }

  /** The wait in all queues, ms. */
  get waitedMs(): number {
    return this.limitWaitMs + this.queuedMs + this.connectionWaitMs;
  }

  /** The start of the service's deadlines, which do not count waits; on the clock of performance.now(), ms. */
  get dueFrom(): number {
    return (this.bodyReadAt || this.startedAt) + this.limitWaitMs + this.queuedMs + this.hooksMs;
  }

  /** Called once when the client has the whole response or has left. There is one listener at a time. */
  set onClose(listener: (() => void) | undefined) {
    this.#onClose = listener;
    if (listener !== undefined && (this.res.closed || this.hasClientLeft)) listener();
  }

  /** The client waits for `100 Continue` before it sends its body (RFC 9110 section 10.1.1). */
  get expectsContinue(): boolean {
    return this.req.headers.expect !== undefined;
  }

  /** The request has not wholly arrived. */
  get isUploading(): boolean {
    return this.hasBody && !this.req.complete;
  }

  /** Bytes announced by Content-Length; undefined for a chunked body. */
  get announcedBytes(): number | undefined {
    const { "content-length": length } = this.req.headers;
    return length === undefined ? undefined : Number(length);
  }
}
