/**
 * The way to the upstream and back: attempt, retry, relay.
 * Invariant: only what is replayable goes twice, and everything up to the answer's headers fits into one deadline.
 */
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import type { PreparedService } from "../prepared-service.ts";
import type { AnswerParts } from "./answer-headers.ts";
import { Attempt, type AttemptOwner } from "./attempt.ts";
import { type AttemptOutcome, decideBreaker, enterBreaker, settleBreaker } from "./breaker-gate.ts";
import { NO_PASS } from "./circuit-breaker.ts";
import { decideConnection, decideDrain, waitedInVain } from "./connection-limit.ts";
import { Deadline, type DeadlineOwner, type Expiry } from "./deadline.ts";
import { answerTimeout } from "./explain-failure.ts";
import { type BodyWatcher, RequestBody } from "./request-body.ts";
import { backoffMs, isIdempotent, isRetriableStatus, REPLAY_BODY_BYTES_LIMIT, retryAfterMs } from "./retry.ts";
import type { AnswerHeaders, Choice } from "./transport.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

export interface ForwardParts extends AnswerParts {
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
}

/** One exchange on its way: what its attempts, its body and its deadline share. */
export class Forwarding implements AttemptOwner, DeadlineOwner, BodyWatcher {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  readonly parts: ForwardParts;
  readonly deadline: Deadline;
  #upload: RequestBody | undefined;
  #attempt: Attempt | undefined;
  #retries = 0;
  isReplayable = false;
  #failure: GatewayError | undefined;
  /** Of the attempt under way. */
  #pass = NO_PASS;
  /** Of the attempt before, where it had no answer. */
  #lastFailure: GatewayError | undefined;

  constructor(exchange: Exchange, route: Route, request: UpstreamRequest, parts: ForwardParts) {
    this.exchange = exchange;
    this.route = route;
    this.request = request;
    this.parts = parts;
    this.deadline = new Deadline(this, route.prepared, exchange.dueFrom);
  }

  /** Resolves when the exchange is over on both sides. @throws GatewayError while nothing of an answer was sent. */
  async run(): Promise<void> {
    const { exchange, route, request } = this;
    try {
      if (exchange.hasBody) request.body = await this.#takeBody();
      if (exchange.hasClientLeft) return;
      pushLength(request, exchange);
      this.isReplayable = isIdempotent(exchange.method) && !(request.body instanceof RequestBody);
      const onKept = this.isReplayable ? "any" : "proven";
      for (let on: Choice = onKept; ; ) {
        const refusal = on === "new" ? undefined : decideConnection(route.prepared, this.parts.retryAfterS);
        if (refusal !== undefined) throw this.#lastFailure ?? refusal;
        this.#enter();
        this.#attempt = new Attempt(this);
        if (exchange.res.closed) return;
        this.#attempt.begin(on);
        const end = await this.#attempt.end;
        if (end.kind === "relayed") return;
        if (end.kind === "failed") throw end.error;
        // Once: the next one's connection is new, and cannot be stale.
        on = end.kind === "stale" ? "new" : onKept;
        if (end.kind === "stale") {
          this.judge(undefined);
          continue;
        }
        this.#retries++;
        if (!(await pauseUnlessGone(end.afterMs, exchange, route.prepared))) return;
        this.#lastFailure = end.error;
        const over = decideDrain(route.prepared) ?? decideBreaker(route.prepared);
        if (over !== undefined) throw this.#lastFailure ?? over;
        const held = await exchange.quota?.enter(Math.floor(this.deadline.remainingMs));
        if (held !== undefined) throw held;
        await exchange.stepIn(exchange.queuedMs + this.deadline.remainingMs);
        // Timers are not exact: the deadline's may be the first of the two, and then nothing else would end the next attempt.
        if (this.#failure !== undefined) throw this.#failure;
      }
    } finally {
      this.judge(undefined);
      this.deadline.stop();
    }
  }

  judge(outcome: AttemptOutcome): void {
    settleBreaker(this.route.prepared, this.#pass, outcome);
    this.#pass = NO_PASS;
  }

  /** What has waited for a connection is of the state that the breaker has now, not of the one in which it began to wait. */
  reenter(): GatewayError | undefined {
    const { prepared } = this.route;
    this.judge(undefined);
    const refusal = decideDrain(prepared) ?? decideBreaker(prepared);
    if (refusal !== undefined) return this.#lastFailure ?? refusal;
    this.#pass = enterBreaker(prepared);
    return undefined;
  }

  waitBeforeRetry(status: number | undefined, headers: AnswerHeaders | undefined): number | undefined {
    const { quota } = this.exchange;
    const { prepared } = this.route;
    if (prepared.breaker?.admits === false) return undefined;
    if (quota?.wasRefused) {
      const pauseMs = backoffMs(this.#retries, Math.random());
      return this.isReplayable && quota.canRetry(this.deadline.remainingMs - pauseMs) ? pauseMs : undefined;
    }
    if (status !== undefined && !isRetriableStatus(status)) return undefined;
    if (!this.isReplayable || this.#retries >= prepared.service.retries) return undefined;
    const asked = headers && retryAfterMs(headers, Date.now());
    const waitMs = Math.max(backoffMs(this.#retries, Math.random()), asked ?? 0);
    return waitMs < this.deadline.remainingMs && prepared.retryBudget.take() ? waitMs : undefined;
  }

  /** The upstream could take more of the body than the client has sent. */
  get isWaitingForClient(): boolean {
    if (this.#attempt?.isWaiting) return false;
    return this.#upload?.isStarved ?? false;
  }

  onExpire(expiry: Expiry): void {
    if (expiry === "body-idle" && this.#attempt?.isHeldBack) this.#attempt.dropClient();
    else if (this.#attempt?.isWaiting) this.#fail(waitedInVain(this.route.prepared, this.parts.retryAfterS));
    else this.#fail(timeoutError(expiry, this.route));
  }

  /** Holds `maxBodyBytes` for bodies that announced no length. */
  onBodyBytes(length: number): void {
    const { exchange, deadline, route } = this;
    exchange.bytesIn += length;
    deadline.touch();
    const { key, maxBodyBytes } = route.prepared.service;
    if (maxBodyBytes > 0 && exchange.bytesIn > maxBodyBytes) {
      const message = `${key} accepts bodies of at most ${maxBodyBytes} bytes.`;
      this.#fail(new GatewayError("PAYLOAD_TOO_LARGE", { message }));
    }
  }

  /** Begins an attempt. @throws GatewayError where the breaker lets none through. */
  #enter(): void {
    const { prepared } = this.route;
    this.#pass = enterBreaker(prepared, this.#lastFailure);
    if (this.exchange.attempts === 0) prepared.retryBudget.deposit();
  }

  #fail(error: GatewayError): void {
    this.#failure = error;
    if (this.#attempt === undefined) this.#upload?.destroy(error);
    else this.#attempt.fail(error);
  }

  /** A small body of a request that may be sent again is taken in hand first; every other one streams. */
  async #takeBody(): Promise<Buffer | RequestBody> {
    const { exchange } = this;
    // HTTP/1.0 knows no interim answers (RFC 9110 section 10.1.1).
    if (exchange.expectsContinue && exchange.req.httpVersionMinor > 0) exchange.res.writeContinue();
    const upload = new RequestBody(exchange.req, this);
    this.#upload = upload;
    const { announcedBytes = Number.POSITIVE_INFINITY } = exchange;
    if (!isIdempotent(exchange.method) || announcedBytes > REPLAY_BODY_BYTES_LIMIT) return upload;
    exchange.onClose = () => upload.destroy(new Error("the client left inside its body"));
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of upload) chunks.push(chunk as Buffer);
    } catch (error) {
      if (!exchange.hasClientLeft) throw error;
    }
    return Buffer.concat(chunks);
  }
}

/** A length that was announced is announced again; without one undici frames the body in chunks (RFC 9112 section 6). */
function pushLength({ headers, body }: UpstreamRequest, exchange: Exchange): void {
  const announced = exchange.req.headers["content-length"];
  if (announced !== undefined && (body !== null || announced === "0")) headers.push("Content-Length", announced);
}

/** False when the client left in the meantime. It is over early when the process ends. */
function pauseUnlessGone(ms: number, exchange: Exchange, { transport }: PreparedService): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (isThere: boolean) => {
      clearTimeout(timer);
      stopListening();
      exchange.onClose = undefined;
      resolve(isThere);
    };
    const timer = setTimeout(end, ms, true);
    const stopListening = transport.onDrain(() => end(true));
    exchange.onClose = () => end(false);
  });
}

function timeoutError(expiry: Expiry, { prepared: { service } }: Route): GatewayError {
  if (expiry === "client-idle") {
    return new GatewayError("REQUEST_TIMEOUT", { message: "The request body stopped arriving." });
  }
  if (expiry === "body-idle") return new GatewayError("UPSTREAM_TIMEOUT");
  return answerTimeout(service);
}
