/**
 * One request to the upstream and the start of its response; the response then goes to a sink.
 * Invariant: it settles exactly once: with a response that a sink has accepted, or with the reason why there is none.
 */

import type { Socket } from "node:net";
import type { Service } from "../../config/schema.ts";
import { GatewayError } from "../../errors.ts";
import type { Exchange } from "../exchange.ts";
import type { Deadline } from "./deadline.ts";
import { explainFailure } from "./failures.ts";
import type { ResponseSink } from "./response-sink.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { Transport } from "./transport/transport.ts";
import type { Dispatched, Flow, ResponseListener, TransportRequest } from "./transport/transport-contract.ts";
import type { Choice } from "./transport/waiter.ts";

export type AttemptResult =
  /** The response goes to the sink that `chooseSink` gave, or `takeSocket` has accepted the upgrade. */
  | { readonly kind: "responded" }
  /** `chooseSink` gave none, and the response was discarded. */
  | { readonly kind: "discarded" }
  | { readonly kind: "client-left" }
  /** The gateway ended it: a deadline, a body over its limit, a response that cannot be relayed. */
  | { readonly kind: "ended"; readonly error: GatewayError }
  /** There was no response. */
  | {
      readonly kind: "failed";
      readonly error: GatewayError;
      /** The upstream had closed the reused connection, which says nothing about the upstream. */
      readonly isStale: boolean;
    };

export interface AttemptParts {
  readonly exchange: Exchange;
  readonly service: Service;
  readonly deadline: Deadline;
  readonly transport: Pick<Transport, "dispatch">;
  readonly request: TransportRequest;
  /**
   * Called after a wait for a connection. @param isDisplaced the request had to make room for one of another caller.
   * @returns the reason not to send the request any more.
   */
  readonly recheck: (isDisplaced: boolean) => GatewayError | undefined;
  /** Called with each interim response (1xx) before the response. */
  readonly relayInterim: (status: number, headers: ResponseHeaders) => void;
  /** Called with the response's head. @returns where the response goes; undefined to discard it. */
  readonly chooseSink: (status: number, headers: ResponseHeaders) => ResponseSink | undefined;
  /** Of an upgrade: called with the socket after a 101. @throws GatewayError for one that is not accepted. */
  readonly takeSocket?: (socket: Socket, headers: ResponseHeaders) => void;
}

/** A longer body is not read to its end for a retry: a new connection is cheaper. */
const DISCARD_BYTES_LIMIT = 65_536;

/** The same for a body that does not end within this many ms. */
const DISCARD_MS = 250;

export class Attempt implements ResponseListener {
  readonly result: Promise<AttemptResult>;
  readonly #parts: AttemptParts;
  #settle!: (result: AttemptResult) => void;
  #dispatched: Dispatched | undefined;
  #flow: Flow | undefined;
  #sink: ResponseSink | undefined;
  #state: "waiting" | "discarding" | "responded" | "settled" = "waiting";
  #discardedBytes = 0;
  #discardTimer: NodeJS.Timeout | undefined;

  constructor(parts: AttemptParts) {
    this.#parts = parts;
    this.result = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  begin(on: Choice): void {
    const { exchange, transport, request } = this.#parts;
    exchange.onClose = this.#onClientClose;
    exchange.attempts++;
    exchange.trace?.attemptBegins(request.headers);
    this.#dispatched = transport.dispatch(request, this, on);
  }

  /** It waits for a connection. */
  get isWaiting(): boolean {
    return this.#dispatched?.isWaiting ?? false;
  }

  /** Bytes of the request may have reached the upstream. */
  get wasSent(): boolean {
    return this.#flow !== undefined;
  }

  onWaited(waitedMs: number): void {
    this.#parts.exchange.connectionWaitMs += waitedMs;
    // The upstream gets all of its time after the wait: it did not cause the wait.
    this.#parts.deadline.extend(waitedMs);
  }

  onTurn(isDisplaced: boolean): boolean {
    const error = this.#parts.recheck(isDisplaced);
    if (error === undefined) return true;
    // The request was not sent.
    this.#parts.exchange.attempts--;
    this.#finish({ kind: "ended", error });
    return false;
  }

  onRequestStart(flow: Flow): void {
    this.#flow = flow;
    this.#parts.exchange.wasSent = true;
    this.#parts.exchange.trace?.requestSent();
    this.#parts.exchange.quota?.sent();
    if (this.#state === "settled") flow.abort(new Error("the request was canceled"));
  }

  onInterimResponse(status: number, headers: ResponseHeaders): void {
    if (this.#state === "waiting") this.#parts.relayInterim(status, headers);
  }

  onResponseStart(flow: Flow, status: number, headers: ResponseHeaders, reason: string): void {
    if (this.#state !== "waiting") return;
    this.#parts.exchange.trace?.responseStarted(status, headers);
    this.#sink = this.#parts.chooseSink(status, headers);
    if (this.#sink === undefined) {
      this.#state = "discarding";
      this.#discardTimer = setTimeout(() => flow.abort(new Error("not worth waiting for")), DISCARD_MS);
      if (Number(headers["content-length"] ?? 0) > DISCARD_BYTES_LIMIT) flow.abort(new Error("not worth reading"));
      return;
    }
    try {
      this.#sink.start({ status, reason, headers }, flow);
    } catch (error) {
      return this.fail(GatewayError.from(error));
    }
    this.#state = "responded";
    this.#settle({ kind: "responded" });
  }

  onResponseData(flow: Flow, chunk: Buffer): void {
    if (this.#state === "responded") return this.#sink?.write(chunk);
    if (this.#state !== "discarding") return;
    this.#discardedBytes += chunk.length;
    if (this.#discardedBytes > DISCARD_BYTES_LIMIT) flow.abort(new Error("not worth reading"));
  }

  onResponseEnd(_flow: Flow, trailers: ResponseHeaders, last: Buffer | undefined): void {
    if (this.#state === "responded") this.#sink?.end(trailers, last);
    else if (this.#state === "discarding") this.#finish({ kind: "discarded" });
  }

  onUpgrade(socket: Socket, headers: ResponseHeaders): void {
    if (this.#state !== "waiting") return void socket.destroy();
    this.#parts.exchange.trace?.responseStarted(101, headers);
    try {
      this.#parts.takeSocket?.(socket, headers);
    } catch (error) {
      socket.destroy();
      return this.#finish({ kind: "ended", error: GatewayError.from(error) });
    }
    this.#state = "responded";
    this.#settle({ kind: "responded" });
  }

  onResponseError(cause: Error): void {
    if (this.#state === "settled") return;
    if (this.#state === "discarding") return this.#finish({ kind: "discarded" });
    const error = explainFailure(cause, this.#parts.service);
    if (this.#state === "responded") return this.#sink?.abort(error);
    const isStale = this.#dispatched?.isStale(cause) ?? false;
    this.#finish({ kind: "failed", error, isStale });
  }

  /** Ends the attempt for a reason of the gateway's own: a deadline, a body over its limit. */
  fail(error: GatewayError): void {
    if (this.#state === "settled") return;
    if (this.#state === "responded") return this.#sink?.abort(error);
    this.#finish({ kind: "ended", error });
    this.#cancel(error);
  }

  readonly #onClientClose = (): void => {
    if (this.#state === "settled" || this.#state === "responded") return;
    this.#finish({ kind: "client-left" });
    this.#cancel(new Error("the client left"));
  };

  /** A request that was not written yet has no flow. */
  #cancel(error: Error): void {
    if (this.#flow !== undefined) return this.#flow.abort(error);
    if (this.isWaiting) this.#parts.exchange.attempts--;
    this.#dispatched?.abandon();
  }

  #finish(result: AttemptResult): void {
    this.#state = "settled";
    if ("error" in result) this.#parts.exchange.trace?.attemptFailed(result.error.code);
    clearTimeout(this.#discardTimer);
    this.#parts.exchange.onClose = undefined;
    this.#settle(result);
  }
}
