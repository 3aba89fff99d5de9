/**
 * One try at the upstream: listens to its answer and either relays it, or reports why not.
 * Invariant: it settles exactly once, and never before the client's side is finished with an answer that was begun.
 */
import { GatewayError } from "../../errors.ts";
import { cutAnswer, lingerBeforeClose } from "../client-connection.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import { createAnswerHeaders } from "./answer-headers.ts";
import type { Deadline } from "./deadline.ts";
import { explainFailure } from "./explain-failure.ts";
import type { AnswerHeaders, AnswerListener, Flow } from "./transport.ts";

/** What became of an attempt. `again` only when nothing of an answer was relayed. */
export type AttemptEnd =
  | { readonly kind: "relayed" }
  | { readonly kind: "again"; readonly afterMs: number }
  | { readonly kind: "failed"; readonly error: GatewayError };

export interface AttemptTask {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly deadline: Deadline;
  readonly wantsTrailers: boolean;
  readonly publicBase: () => string;
  /** The request body has not wholly arrived. */
  readonly isUploading: () => boolean;
  /** ms to wait before the next attempt; undefined when there must be none. */
  readonly retryAfter: (status: number | undefined, headers: AnswerHeaders | undefined) => number | undefined;
}

/** Body of an answer that is thrown away for a retry: beyond this a new connection is cheaper. */
const DISCARD_BYTES_LIMIT = 65_536;

export class Attempt implements AnswerListener {
  readonly end: Promise<AttemptEnd>;
  readonly #task: AttemptTask;
  #settle!: (end: AttemptEnd) => void;
  #flow: Flow | undefined;
  #state: "waiting" | "discarding" | "relaying" | "settled" = "waiting";
  #againAfterMs = 0;
  #discardedBytes = 0;
  #isFramed = true;
  #hasWritten = false;

  constructor(task: AttemptTask) {
    this.#task = task;
    this.end = new Promise((resolve) => {
      this.#settle = resolve;
    });
    task.exchange.onClose = this.#onClientClose;
  }

  onRequestStart(flow: Flow): void {
    this.#flow = flow;
    if (this.#state === "settled") flow.abort(new Error("nobody waits for this answer"));
  }

  onResponseStart(flow: Flow, status: number, headers: AnswerHeaders, reason = ""): void {
    if (this.#state !== "waiting") return;
    if (status < 200) {
      // 1xx are for this hop; a status below 100 is no status, and undici would wait for a better one for ever.
      if (status < 100) this.fail(new GatewayError("UPSTREAM_PROTOCOL_ERROR"));
      return;
    }
    const afterMs = this.#task.retryAfter(status, headers);
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
    if (this.#state !== "relaying") return;
    const { exchange, deadline } = this.#task;
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
    if (this.#state !== "relaying") return;
    const { res } = this.#task.exchange;
    this.#hasWritten = true;
    if (this.#task.wantsTrailers) addTrailers(res, trailers);
    // The attempt settles when the client has it all: #onClientClose.
    res.end();
  }

  onResponseError(_flow: Flow | undefined, error: Error): void {
    if (this.#state === "settled") return;
    const { service } = this.#task.route.prepared;
    if (this.#state === "discarding") return this.#finish({ kind: "again", afterMs: this.#againAfterMs });
    if (this.#state === "relaying") return this.fail(explainFailure(error, service));
    const failure = explainFailure(error, service);
    const afterMs = failure.code === "INTERNAL_ERROR" ? undefined : this.#task.retryAfter(undefined, undefined);
    this.#finish(afterMs === undefined ? { kind: "failed", error: failure } : { kind: "again", afterMs });
  }

  /** Ends this attempt with an error of ours: a deadline, a body that is too large. */
  fail(error: GatewayError): void {
    if (this.#state === "settled") return;
    const { exchange } = this.#task;
    if (this.#state === "relaying") {
      if (exchange.res.writableEnded) return;
      exchange.outcome = `failed:${error.code}`;
      this.#flow?.abort(error);
      cutAnswer(exchange.req, this.#isFramed);
      return;
    }
    this.#finish({ kind: "failed", error });
    this.#flow?.abort(error);
  }

  #startRelay(status: number, upstreamHeaders: AnswerHeaders, reason: string): void {
    const { exchange, route, deadline, publicBase, wantsTrailers } = this.#task;
    const { req, res } = exchange;
    exchange.answeredAt = performance.now();
    if (this.#task.isUploading()) {
      exchange.closesConnection = true;
      lingerBeforeClose(req);
    }
    const headers = createAnswerHeaders(exchange, route, upstreamHeaders, publicBase);
    const hasLength = upstreamHeaders["content-length"] !== undefined;
    this.#isFramed = hasLength || req.httpVersionMinor > 0;
    if (wantsTrailers && !hasLength && upstreamHeaders.trailer !== undefined && req.httpVersionMinor > 0) {
      headers.push("Trailer", String(upstreamHeaders.trailer));
    }
    try {
      if (/^[\t\x20-\x7e\x80-\xff]+$/.test(reason)) res.writeHead(status, reason, headers);
      else res.writeHead(status, headers);
    } catch (cause) {
      this.fail(new GatewayError("UPSTREAM_PROTOCOL_ERROR", { cause }));
      return;
    }
    this.#state = "relaying";
    deadline.enterBody(idleLimit(route, upstreamHeaders));
    // Most bodies follow in the same tick and travel in the same packet; headers alone must not wait for one.
    process.nextTick(() => {
      if (!this.#hasWritten) res.flushHeaders();
    });
  }

  readonly #onClientClose = (): void => {
    if (this.#state === "settled") return;
    const { exchange } = this.#task;
    if (exchange.hasClientLeft && exchange.outcome === "") exchange.outcome = "client-left";
    this.#finish({ kind: "relayed" });
    if (exchange.hasClientLeft) this.#flow?.abort(new Error("the client left"));
  };

  #finish(end: AttemptEnd): void {
    this.#state = "settled";
    this.#task.exchange.onClose = undefined;
    this.#settle(end);
  }
}

/** Silence is normal in an event stream, so only a limit that was configured applies to one. */
function idleLimit({ prepared: { service } }: Route, headers: AnswerHeaders): number {
  if (service.idleTimeoutMs !== undefined) return service.idleTimeoutMs;
  return String(headers["content-type"] ?? "").startsWith("text/event-stream") ? 0 : DEFAULT_IDLE_MS;
}

/** SPEC 3: `idleTimeoutMs` of a service that names none. */
export const DEFAULT_IDLE_MS = 300_000;

function addTrailers(res: Exchange["res"], trailers: AnswerHeaders): void {
  const entries = Object.entries(trailers).flatMap(([name, value]) =>
    value === undefined ? [] : [value].flat().map((one): [string, string] => [name, one]),
  );
  if (entries.length > 0) res.addTrailers(entries);
}
