/**
 * An admitted request on its way to the upstream: quota, breaker, attempt, relay. A retry repeats from the quota.
 * Invariant: only a replayable request is sent twice, and everything up to the response's headers fits into one deadline.
 */
import type { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { connectionWaitTimeout, decideConnection, decideDrain, displaced } from "../load.ts";
import type { PreparedService } from "../prepared-service.ts";
import { hasQuotaHeader } from "../quota/read-quota.ts";
import type { SlotParts } from "../reacquire-slots.ts";
import type { ResponseParts } from "./answer-headers.ts";
import { Attempt, type AttemptResult } from "./attempt.ts";
import { BodyIntake, type IntakeParts } from "./body-intake.ts";
import { type AttemptOutcome, decideBreaker, enterBreaker, NO_PASS, settleBreaker } from "./breaker.ts";
import { CredentialUse } from "./credential-use.ts";
import { Deadline, type Expiry } from "./deadline.ts";
import { HookSink } from "./hook-sink.ts";
import { relayInterim } from "./interim.ts";
import { holdForQuota, reportToQuota } from "./quota-gate.ts";
import { Relay } from "./relay.ts";
import type { ClientSink, ResponseSink } from "./response-sink.ts";
import { backoffMs, isFinal, isIdempotent, isRetriableStatus, retryAfterMs } from "./retry.ts";
import { pauseUnlessGone } from "./retry-pause.ts";
import { timeoutError } from "./timeout-error.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { Choice } from "./transport/waiter.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/** In the headers of a gRPC response without messages, whose status is 200 (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md). */
const GRPC_UNAUTHENTICATED = "16";

export interface ForwardParts extends ResponseParts, SlotParts, IntakeParts {}

/** Resolves when the exchange is over on both sides. @throws GatewayError while nothing of a response was sent. */
export function forward(
  exchange: Exchange,
  route: Route,
  request: UpstreamRequest,
  parts: ForwardParts,
): Promise<void> {
  const { quota } = route.prepared;
  if (quota?.isHolding) {
    // The deadline, which the constructor starts, does not count the wait for the quota.
    return holdForQuota(exchange, quota, route, { request, parts }).then(() =>
      new Forwarding(exchange, route, request, parts).run(),
    );
  }
  if (quota !== undefined) exchange.quotaOutcome = "observed";
  return new Forwarding(exchange, route, request, parts).run();
}

/** What the attempts of one exchange share. */
class Forwarding {
  readonly #exchange: Exchange;
  readonly #route: Route;
  readonly #prepared: PreparedService;
  readonly #request: UpstreamRequest;
  readonly #parts: ForwardParts;
  readonly #credential: CredentialUse;
  readonly #deadline: Deadline;
  /** Undefined for a request without a body. */
  #intake: BodyIntake | undefined;
  #attempt: Attempt | undefined;
  #relay: ClientSink | undefined;
  #retries = 0;
  #retryAfterMs = 0;
  #isReplayable = false;
  /** The reason to end the exchange, from outside an attempt. */
  #failure: GatewayError | undefined;
  /** Of the breaker, for the current attempt. */
  #pass = NO_PASS;
  /** Of the previous attempt without a response. */
  #lastFailure: GatewayError | undefined;

  constructor(exchange: Exchange, route: Route, request: UpstreamRequest, parts: ForwardParts) {
    this.#exchange = exchange;
    this.#route = route;
    this.#prepared = route.prepared;
    this.#request = request;
    this.#parts = parts;
    this.#credential = new CredentialUse(exchange, route);
    this.#deadline = new Deadline(route.prepared.service, exchange.dueFrom, (expiry) => this.#onExpire(expiry));
  }

  async run(): Promise<void> {
    const [exchange, request] = [this.#exchange, this.#request];
    try {
      if (exchange.hasBody) request.body = await this.#takeBody();
      if (exchange.hasClientLeft) return;
      this.#isReplayable = isIdempotent(exchange.method) && (request.body === null || Buffer.isBuffer(request.body));
      const onReused = this.#isReplayable ? "any" : "proven";
      for (let on: Choice = onReused; ; ) {
        const isInjected = this.#credential.inject(request, this.#deadline);
        if (isInjected !== true && !(await isInjected)) return;
        const result = await this.#attemptOnce(on);
        if (result.kind === "client-left") return;
        if (result.kind === "responded") return await this.#relay?.closed;
        if (result.kind === "failed" && result.isStale && this.#isReplayable && !request.isBound) {
          this.#judge(undefined);
          // Once: the next connection is new, so it cannot be stale.
          on = "new";
          continue;
        }
        this.#decideRetry(result);
        on = onReused;
        if (!(await this.#pauseBeforeRetry())) return;
      }
    } finally {
      if (this.#pass !== NO_PASS) this.#judge(undefined);
      this.#deadline.stop();
      this.#intake?.end();
    }
  }

  /** @throws GatewayError */
  #takeBody(): ReturnType<BodyIntake["take"]> {
    const { signedBodies, retryAfterS } = this.#parts;
    this.#intake = new BodyIntake({
      exchange: this.#exchange,
      prepared: this.#prepared,
      request: this.#request,
      onBytes: () => this.#deadline.touch(),
      fail: (error) => this.#fail(error),
      signedBodies,
      retryAfterS,
    });
    return this.#intake.take();
  }

  /** @throws GatewayError where none may be made. */
  #attemptOnce(on: Choice): AttemptResult | Promise<AttemptResult> {
    const exchange = this.#exchange;
    const prepared = this.#prepared;
    if (this.#failure !== undefined) throw this.#failure;
    const refusal = on === "new" ? undefined : decideConnection(prepared, exchange, this.#parts.retryAfterS);
    if (refusal !== undefined) throw this.#lastFailure ?? refusal;
    this.#pass = enterBreaker(prepared, exchange, this.#lastFailure);
    if (exchange.attempts === 0) prepared.retryBudget.deposit();
    if (exchange.res.closed || exchange.hasClientLeft) return { kind: "client-left" };
    this.#attempt = new Attempt({
      exchange,
      service: prepared.service,
      deadline: this.#deadline,
      transport: prepared.transport,
      request: this.#request,
      recheck: this.#recheck,
      relayInterim: this.#relayInterim,
      chooseSink: this.#chooseSink,
    });
    this.#attempt.begin(on);
    return this.#attempt.result;
  }

  readonly #relayInterim = (status: number, headers: ResponseHeaders): void => {
    relayInterim(this.#exchange, this.#route, { status, headers }, this.#parts);
  };

  /** The client, or nothing where the request is to be sent again. */
  readonly #chooseSink = (status: number, headers: ResponseHeaders): ResponseSink | undefined => {
    if (this.#exchange.quota !== undefined || status >= 400 || hasQuotaHeader(headers)) {
      reportToQuota(this.#exchange, this.#route, this.#request, { status, headers });
    }
    this.#judge(status);
    const isRefused = status === 401 || headers["grpc-status"] === GRPC_UNAUTHENTICATED;
    if (this.#credential.isWatched) this.#credential.note(isRefused ? 401 : status, headers);
    // Outside of `retries` and their budget: how often a credential is renewed bounds these repetitions.
    if (isRefused && this.#credential.wasRefused(() => this.#mayRepeat)) return undefined;
    const afterMs = status < 400 ? undefined : this.#waitBeforeRetry(status, headers);
    this.#retryAfterMs = afterMs ?? 0;
    if (afterMs !== undefined) return undefined;
    const [parts, exchange, { wantsTrailers }] = [this.#parts, this.#exchange, this.#request];
    const relayed = { exchange, route: this.#route, deadline: this.#deadline, wantsTrailers, parts };
    const relay = exchange.destination?.sinkFor(this.#deadline) ?? new Relay(relayed);
    this.#relay = relay;
    const hooks = relay instanceof Relay ? parts.hooks : undefined;
    const sink = hooks?.hasOnResponse ? new HookSink(relay as Relay, hooks, relayed, this.#request) : relay;
    const scrubbed = this.#prepared.scrub?.createSink(sink, exchange, this.#deadline) ?? sink;
    return exchange.spend?.createSink(scrubbed) ?? scrubbed;
  };

  /** @throws GatewayError where there is no retry. */
  #decideRetry(result: Exclude<AttemptResult, { readonly kind: "responded" | "client-left" }>): void {
    if (result.kind === "discarded") return;
    const { error } = result;
    if (result.kind === "ended") {
      this.#judge(error);
      throw error;
    }
    // An upstream may give up on a client that stops inside its upload, or read no more of it: then the fault may be either's.
    const mayBeClients = this.#attempt?.wasSent === true && this.#intake?.upload?.isComplete === false;
    this.#judge(result.isStale || mayBeClients ? undefined : error);
    const afterMs = isFinal(error) ? undefined : this.#waitBeforeRetry(undefined, undefined);
    if (afterMs === undefined) throw error;
    this.#retryAfterMs = afterMs;
    this.#lastFailure = error;
  }

  /** @returns false where the client left. @throws GatewayError where the retry may not be made after the pause. */
  async #pauseBeforeRetry(): Promise<boolean> {
    const exchange = this.#exchange;
    const renewed = this.#credential.renewed(this.#deadline);
    if (renewed === undefined) this.#retries++;
    if (!(await (renewed ?? pauseUnlessGone(this.#retryAfterMs, exchange, this.#prepared)))) return false;
    const over = decideDrain(this.#prepared) ?? decideBreaker(this.#prepared, exchange);
    if (over !== undefined) throw this.#lastFailure ?? over;
    const refusal = await exchange.quota?.enter(Math.floor(this.#deadline.remainingMs));
    if (refusal !== undefined) throw refusal;
    await exchange.reacquireSlots(exchange.queuedMs + this.#deadline.remainingMs);
    // The deadline's timer may have fired first, and then nothing else would end the next attempt.
    if (this.#failure !== undefined) throw this.#failure;
    return true;
  }

  get #mayRepeat(): boolean {
    return this.#isReplayable && !this.#request.isBound && decideBreaker(this.#prepared, this.#exchange) === undefined;
  }

  /** Reports the attempt's outcome to the breaker; only the first report of an attempt counts. */
  #judge(outcome: AttemptOutcome): void {
    const settled = { pass: this.#pass, voter: this.#exchange.voter, wasConnected: this.#attempt?.wasSent ?? false };
    settleBreaker(this.#prepared, settled, outcome);
    this.#pass = NO_PASS;
  }

  /** After a wait for a connection the breaker's state may have changed. */
  readonly #recheck = (isDisplaced: boolean): GatewayError | undefined => {
    this.#judge(undefined);
    const prepared = this.#prepared;
    const full = isDisplaced ? displaced(prepared, this.#parts.retryAfterS) : undefined;
    const refusal = decideDrain(prepared) ?? full ?? decideBreaker(prepared, this.#exchange);
    if (refusal !== undefined) return this.#lastFailure ?? refusal;
    this.#pass = enterBreaker(prepared, this.#exchange);
    return undefined;
  };

  /** ms before another attempt; undefined where there is none. @param status undefined: there was no response. */
  #waitBeforeRetry(status: number | undefined, headers: ResponseHeaders | undefined): number | undefined {
    const { quota } = this.#exchange;
    const wasQuotaRefused = quota?.wasRefused ?? false;
    if (!wasQuotaRefused && status !== undefined && !isRetriableStatus(status)) return undefined;
    const { service, retryBudget } = this.#prepared;
    if (!this.#mayRepeat) return undefined;
    const pauseMs = backoffMs(this.#retries, Math.random());
    const { remainingMs } = this.#deadline;
    if (quota !== undefined && wasQuotaRefused) return quota.canRetry(remainingMs - pauseMs) ? pauseMs : undefined;
    if (this.#retries >= service.retries) return undefined;
    const waitMs = Math.max(pauseMs, (headers && retryAfterMs(headers, Date.now())) ?? 0);
    return waitMs < remainingMs && retryBudget.take() ? waitMs : undefined;
  }

  #onExpire(expired: Expiry): void {
    let expiry = expired;
    const isWaitingForClient = !this.#attempt?.isWaiting && this.#intake?.upload?.isStarved === true;
    if (expiry === "headers" && isWaitingForClient) {
      if (this.#deadline.waitForClient()) return;
      expiry = "client-idle";
    }
    if (expiry === "body-idle" && this.#relay?.isClientSlow) this.#relay.dropClient();
    else if (this.#attempt?.isWaiting)
      this.#fail(connectionWaitTimeout(this.#prepared, this.#exchange, this.#parts.retryAfterS));
    else this.#fail(timeoutError(expiry, this.#route, this.#exchange.method));
  }

  #fail(error: GatewayError): void {
    this.#failure = error;
    if (this.#attempt === undefined) this.#intake?.upload?.cancel(error);
    else this.#attempt.fail(error);
  }
}
