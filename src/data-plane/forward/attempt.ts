/**
 * One try at the upstream: listens to its answer and either relays it, or reports why not.
 * Invariant: it settles exactly once, and never before the client's side is finished with an answer that was begun.
 */
import { STATUS_CODES } from "node:http";
import { performance } from "node:perf_hooks";
import { GatewayError } from "../../errors.ts";
import { lingerBeforeClose } from "../../perimeter/linger.ts";
import { cutAnswer } from "../client-connection.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { type AnswerParts, createAnswerHeaders } from "./answer-headers.ts";
import type { AttemptOutcome } from "./breaker-gate.ts";
import { DEFAULT_IDLE_MS, type Deadline } from "./deadline.ts";
import { explainFailure } from "./explain-failure.ts";
import { announcedTrailers, trailersToRelay } from "./trailers.ts";
import type { AnswerHeaders, AnswerListener, Choice, Dispatched, Flow } from "./transport.ts";
import type { UpstreamRequest } from "./upstream-request.ts";

/**
 * What became of an attempt. `again` only when nothing of an answer was relayed. `stale`: the upstream had closed the kept
 * connection that it was put on, which says nothing of the upstream.
 */
export type AttemptEnd =
  | { readonly kind: "stale" }
  | { readonly kind: "relayed" }
  /** With its failure, where there was no answer. */
  | { readonly kind: "again"; readonly afterMs: number; readonly error?: GatewayError }
  | { readonly kind: "failed"; readonly error: GatewayError };

/** The forwarding that an attempt belongs to. */
export interface AttemptOwner {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  readonly parts: AnswerParts;
  readonly deadline: Deadline;
  /** Told what the attempt says of the upstream, before the question below. Only the first word of an attempt counts. */
  judge(outcome: AttemptOutcome): void;
  /** Asked of an attempt that has waited for a connection. @returns why it must not be made any more. */
  reenter(): GatewayError | undefined;
  /** The request may be sent twice, and can be. */
  readonly isReplayable: boolean;
  /** The upstream could take more of the body than the client has sent. */
  readonly isWaitingForClient: boolean;
  /** ms to wait before another attempt; undefined when there must be none. @param status undefined: no answer at all. */
  waitBeforeRetry(status: number | undefined, headers: AnswerHeaders | undefined): number | undefined;
}

/** Body of an answer that is thrown away for a retry: beyond this a new connection is cheaper. */
const DISCARD_BYTES_LIMIT = 65_536;

export class Attempt implements AnswerListener {
  readonly end: Promise<AttemptEnd>;
  readonly #forwarding: AttemptOwner;
  #settle!: (end: AttemptEnd) => void;
  #dispatched: Dispatched | undefined;
  #flow: Flow | undefined;
  #state: "waiting" | "discarding" | "relaying" | "cut" | "settled" = "waiting";
  #againAfterMs = 0;
  #discardedBytes = 0;
  #isFramed = true;
  #hasWritten = false;

  constructor(forwarding: AttemptOwner) {
    this.#forwarding = forwarding;
    this.end = new Promise((resolve) => {
      this.#settle = resolve;
    });
    forwarding.exchange.onClose = this.#onClientClose;
  }

  begin(on: Choice): void {
    const { request, route, exchange } = this.#forwarding;
    exchange.attempts++;
    this.#dispatched = route.prepared.transport.dispatch(request, this, on);
  }

  /** For a connection. */
  get isWaiting(): boolean {
    return this.#dispatched?.isWaiting ?? false;
  }

  onWaited(waitedMs: number): void {
    this.#forwarding.exchange.connectionWaitMs += waitedMs;
    // The upstream has all of its time from then on: else it would be blamed for those who came late to it.
    this.#forwarding.deadline.extend(waitedMs);
  }

  onTurn(): boolean {
    const refusal = this.#forwarding.reenter();
    if (refusal === undefined) return true;
    // It was never made.
    this.#forwarding.exchange.attempts--;
    this.#finish({ kind: "failed", error: refusal });
    return false;
  }

  onRequestStart(flow: Flow): void {
    this.#flow = flow;
    this.#forwarding.exchange.quota?.sent();
    if (this.#state === "settled") flow.abort(new Error("nobody waits for this answer"));
  }

  onResponseStart(flow: Flow, status: number, headers: AnswerHeaders, reason = ""): void {
    if (this.#state !== "waiting") return;
    if (status < 200) {
      // 1xx are for this hop; a status below 100 is no status, and undici would wait for a better one for ever.
      if (status < 100) this.fail(new GatewayError("UPSTREAM_PROTOCOL_ERROR"));
      return;
    }
    if (hasForeignCoding(headers["transfer-encoding"])) {
      this.fail(
        new GatewayError("UPSTREAM_PROTOCOL_ERROR", { message: "The answer has a transfer coding not asked for." }),
      );
      return;
    }
    this.#forwarding.exchange.quota?.answered(status, headers);
    this.#forwarding.judge(status);
    const afterMs = this.#forwarding.waitBeforeRetry(status, headers);
    if (afterMs === undefined) {
      this.#startRelay(status, headers, reason);
    } else {
      this.#state = "discarding";
      this.#againAfterMs = afterMs;
      if (Number(headers["content-length"] ?? 0) > DISCARD_BYTES_LIMIT) flow.abort(new Error("not worth reading"));
    }
  }

  onResponseData(flow: Flow, chunk: Buffer): void {
    if (this.#state === "discarding") {
      this.#discardedBytes += chunk.length;
      if (this.#discardedBytes > DISCARD_BYTES_LIMIT) flow.abort(new Error("not worth reading"));
      return;
    }
    const { exchange, deadline } = this.#forwarding;
    if (this.#state !== "relaying" || exchange.res.writableEnded) return;
    this.#hasWritten = true;
    exchange.bytesOut += chunk.length;
    deadline.touch();
    if (!exchange.res.write(chunk)) {
      flow.pause();
      exchange.res.once("drain", () => {
        deadline.touch();
        flow.resume();
      });
    }
  }

  onResponseEnd(_flow: Flow, trailers: AnswerHeaders): void {
    if (this.#state === "discarding") return this.#finish({ kind: "again", afterMs: this.#againAfterMs });
    const { res } = this.#forwarding.exchange;
    if (this.#state !== "relaying" || res.writableEnded) return;
    this.#hasWritten = true;
    if (this.#forwarding.request.wantsTrailers) res.addTrailers(trailersToRelay(trailers));
    // The attempt settles when the client has it all: #onClientClose.
    res.end();
  }

  onResponseError(_flow: Flow | undefined, error: Error): void {
    if (this.#state === "settled" || this.#state === "cut") return;
    const { service } = this.#forwarding.route.prepared;
    if (this.#state === "discarding") return this.#finish({ kind: "again", afterMs: this.#againAfterMs });
    if (this.#state === "relaying") return this.fail(explainFailure(error, service));
    const isStale = this.#dispatched?.isStale(error) ?? false;
    if (isStale && this.#forwarding.isReplayable) return this.#finish({ kind: "stale" });
    const failure = explainFailure(error, service);
    // An upstream may give up on a client that stopped inside its upload: nobody can say then whose fault it is.
    const isClients = this.#flow !== undefined && this.#forwarding.isWaitingForClient;
    this.#forwarding.judge(isStale || isClients ? undefined : failure);
    const afterMs = isFinal(failure) ? undefined : this.#forwarding.waitBeforeRetry(undefined, undefined);
    this.#finish(
      afterMs === undefined ? { kind: "failed", error: failure } : { kind: "again", afterMs, error: failure },
    );
  }

  /** What was received waits for the client to take it. */
  get isHeldBack(): boolean {
    const { res } = this.#forwarding.exchange;
    return this.#state === "relaying" && (res.writableNeedDrain || res.writableEnded);
  }

  /** A client that stopped reading is one that left: its silence is no failure of the upstream's. */
  dropClient(): void {
    const { exchange } = this.#forwarding;
    this.#state = "cut";
    exchange.outcome = "client-left";
    this.#abort(new Error("the client stopped reading"));
    cutAnswer(exchange.req, this.#isFramed);
  }

  /** Ends this attempt with an error of ours: a deadline, a body that is too large. */
  fail(error: GatewayError): void {
    if (this.#state === "settled" || this.#state === "cut") return;
    const { exchange } = this.#forwarding;
    if (this.#state === "relaying") {
      if (exchange.res.writableEnded) return;
      this.#state = "cut";
      exchange.outcome = `failed:${error.code}`;
      this.#abort(error);
      cutAnswer(exchange.req, this.#isFramed);
      return;
    }
    this.#forwarding.judge(error);
    this.#finish({ kind: "failed", error });
    this.#abort(error);
  }

  /** What has not begun has no flow yet. */
  #abort(error: Error): void {
    if (this.#flow !== undefined) return this.#flow.abort(error);
    // It was never made.
    if (this.isWaiting) this.#forwarding.exchange.attempts--;
    this.#dispatched?.abandon();
  }

  #startRelay(status: number, upstreamHeaders: AnswerHeaders, reason: string): void {
    const { exchange, route, deadline, parts, request } = this.#forwarding;
    const { req, res } = exchange;
    exchange.answeredAt = performance.now();
    if (exchange.isUploading) {
      exchange.closesConnection = true;
      lingerBeforeClose(req);
    }
    const headers = createAnswerHeaders(exchange, route, upstreamHeaders, parts);
    const hasLength = upstreamHeaders["content-length"] !== undefined;
    // Asked of what is sent: an upstream may name its own length in `Connection`.
    this.#isFramed = req.httpVersionMinor > 0 || headers.includes("content-length");
    const isWhole = hasNoBody(exchange.method, status);
    // Trailers follow chunks; node:http refuses to announce them where there are none.
    if (request.wantsTrailers && !hasLength && !isWhole && req.httpVersionMinor > 0) {
      const announced = announcedTrailers(upstreamHeaders.trailer);
      if (announced !== "") headers.push("Trailer", announced);
    }
    try {
      if (isReasonToRelay(status, reason)) res.writeHead(status, reason, headers);
      else res.writeHead(status, headers);
    } catch (cause) {
      this.fail(new GatewayError("UPSTREAM_PROTOCOL_ERROR", { cause }));
      return;
    }
    this.#state = "relaying";
    if (isWhole) {
      // Undici would take the length that a 304 may announce for a body that never came.
      this.#hasWritten = true;
      res.end();
      return;
    }
    deadline.enterBody(exchange.answeredAt, idleLimit(route, upstreamHeaders));
    // Most bodies follow in the same tick and travel in the same packet; headers alone must not wait for one.
    process.nextTick(Attempt.#flushHeaders, this);
  }

  static #flushHeaders(attempt: Attempt): void {
    if (!attempt.#hasWritten) attempt.#forwarding.exchange.res.flushHeaders();
  }

  readonly #onClientClose = (): void => {
    if (this.#state === "settled") return;
    const { exchange } = this.#forwarding;
    this.#finish({ kind: "relayed" });
    if (exchange.hasClientLeft) this.#abort(new Error("the client left"));
  };

  #finish(end: AttemptEnd): void {
    this.#state = "settled";
    this.#forwarding.exchange.onClose = undefined;
    this.#settle(end);
  }
}

/** Another attempt would end in the same way. */
function isFinal({ code }: GatewayError): boolean {
  return code === "INTERNAL_ERROR" || code === "EGRESS_NOT_ALLOWED";
}

/** RFC 9112 section 6.3. */
function hasNoBody(method: string, status: number): boolean {
  return method === "HEAD" || status === 204 || status === 304;
}

/** Only `chunked` is undone on the way; the bytes of another coding would reach the client with nothing that names it. */
function hasForeignCoding(coding: string | string[] | undefined): boolean {
  return coding !== undefined && String(coding).toLowerCase() !== "chunked";
}

/** Silence is normal in an event stream, so only a limit that was configured applies to one. */
function idleLimit({ prepared: { service } }: Route, headers: AnswerHeaders): number {
  if (service.idleTimeoutMs !== undefined) return service.idleTimeoutMs;
  return /^text\/event-stream\b/i.test(String(headers["content-type"] ?? "")) ? 0 : DEFAULT_IDLE_MS;
}

/** A reason of the upstream's own, unless it holds what must not stand in a status line (RFC 9112 section 4). */
function isReasonToRelay(status: number, reason: string): boolean {
  return reason !== STATUS_CODES[status] && /^[\t\x20-\x7e\x80-\xff]+$/.test(reason);
}
