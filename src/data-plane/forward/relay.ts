/**
 * Writes an upstream's response to the client.
 * Invariant: a response that the upstream cut off is cut off for the client too and never ends cleanly; and the client sets the pace.
 */
import { STATUS_CODES } from "node:http";
import { performance } from "node:perf_hooks";
import { GatewayError } from "../../errors.ts";
import { lingerBeforeClose } from "../../perimeter/linger.ts";
import { cutResponse } from "../client-connection.ts";
import type { Exchange } from "../exchange.ts";
import type { Route } from "../identify.ts";
import {
  announcedTrailers,
  createResponseHeaders,
  leavesService,
  type ResponseParts,
  trailersToRelay,
} from "./answer-headers.ts";
import { DEFAULT_IDLE_MS, type Deadline } from "./deadline.ts";
import type { ClientSink, ResponseHead } from "./response-sink.ts";
import type { ResponseHeaders } from "./transport/response-fields.ts";
import type { Flow } from "./transport/transport-contract.ts";

/** Up to this many bytes, a copy of the body costs less than a buffer of its own in the write. */
const JOINED_BYTES_LIMIT = 4_096;

interface RelayParts {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly deadline: Pick<Deadline, "touch" | "enterBody">;
  /** The client takes trailers. */
  readonly wantsTrailers: boolean;
  readonly parts: ResponseParts;
}

export class Relay implements ClientSink {
  /** Resolves when the client has all of the response, or has left. */
  readonly closed: Promise<void>;
  readonly #relayed: RelayParts;
  #resolveClosed!: () => void;
  #rejectClosed!: (error: GatewayError) => void;
  #flow!: Flow;
  #isOver = false;
  #isFramed = true;
  #hasWritten = false;
  #isPaused = false;

  constructor(relayed: RelayParts) {
    this.#relayed = relayed;
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
  }

  start({ status, reason, headers: received }: ResponseHead, flow: Flow): void {
    const { exchange, route, deadline, parts, wantsTrailers } = this.#relayed;
    const { req, res } = exchange;
    this.#flow = flow;
    exchange.respondedAt = performance.now();
    if (exchange.isUploading) {
      exchange.closesConnection = true;
      lingerBeforeClose(req);
    }
    const headers = createResponseHeaders(exchange, route, received, parts);
    const { redirects, key } = route.prepared.service;
    if (redirects === "block" && leavesService(exchange, route, { status, headers }, parts)) {
      const message = `${key} responded with a redirect to another host.`;
      throw new GatewayError("REDIRECT_BLOCKED", { message });
    }
    // Judged by the headers that are sent: an upstream may name its own Content-Length in `Connection`.
    this.#isFramed = req.httpVersionMinor > 0 || headers.includes("content-length");
    const isWhole = exchange.method === "HEAD" || status === 204 || status === 304;
    // Trailers follow chunks, and node:http refuses to announce them for a body that has none.
    if (wantsTrailers && received["content-length"] === undefined && !isWhole && req.httpVersionMinor > 0) {
      const announced = announcedTrailers(received.trailer);
      if (announced !== "") headers.push("Trailer", announced);
    }
    try {
      if (isReasonToRelay(status, reason)) {
        res.writeHead(status, route.prepared.echoMask?.mask(reason) ?? reason, headers);
      } else res.writeHead(status, headers);
    } catch (cause) {
      throw new GatewayError("UPSTREAM_PROTOCOL_ERROR", { cause });
    }
    exchange.onClose = this.#onClientClose;
    if (isWhole) {
      // RFC 9112 section 6.3: no body follows, although a 304 may announce a length.
      this.#hasWritten = true;
      res.end();
      return;
    }
    deadline.enterBody(exchange.respondedAt, idleLimit(route, received));
    // Most bodies follow in the same tick and travel in the same packet; headers alone must not wait for one.
    process.nextTick(Relay.#flushHeaders, this);
  }

  write(chunk: Buffer): void {
    const { exchange, deadline } = this.#relayed;
    const { res } = exchange;
    if (this.#isOver || res.writableEnded) return;
    this.#hasWritten = true;
    exchange.bytesOut += chunk.length;
    deadline.touch();
    if (res.write(chunk)) return;
    this.#isPaused = true;
    this.#flow.pause();
    res.once("drain", () => {
      this.#isPaused = false;
      deadline.touch();
      this.#flow.resume();
    });
  }

  end(trailers: ResponseHeaders, last: Buffer | undefined): void {
    const { exchange, deadline } = this.#relayed;
    const { res } = exchange;
    if (this.#isOver || res.writableEnded) return;
    this.#hasWritten = true;
    if (this.#relayed.wantsTrailers) res.addTrailers(trailersToRelay(trailers, this.#relayed.route.prepared));
    if (last === undefined) return void res.end();
    exchange.bytesOut += last.length;
    deadline.touch();
    // node:http joins a text with the head, so that both are one buffer for the socket. latin1 keeps each byte.
    if (last.length <= JOINED_BYTES_LIMIT) res.end(last.toString("latin1"), "latin1");
    else res.end(last);
  }

  abort(error: GatewayError): void {
    if (this.#isOver || this.#relayed.exchange.res.writableEnded) return;
    this.#cut(`failed:${error.code}`, error);
  }

  /** Nothing was sent, and nothing will be. @param error why `closed` rejects; undefined where the client left. */
  giveUp(error: GatewayError | undefined): void {
    this.#isOver = true;
    if (error === undefined) this.#resolveClosed();
    else this.#rejectClosed(error);
  }

  /** The client has not taken what was received for it. */
  get isClientSlow(): boolean {
    return !this.#isOver && (this.#isPaused || this.#relayed.exchange.res.writableEnded);
  }

  /** Treats a client that stopped reading as one that left: its silence is no failure of the upstream. */
  dropClient(): void {
    this.#cut("client-left", new Error("the client stopped reading"));
  }

  #cut(outcome: string, error: Error): void {
    const { exchange } = this.#relayed;
    this.#isOver = true;
    exchange.outcome = outcome;
    this.#flow.abort(error);
    cutResponse(exchange.res, this.#isFramed);
  }

  static #flushHeaders(relay: Relay): void {
    if (!relay.#hasWritten) relay.#relayed.exchange.res.flushHeaders();
  }

  readonly #onClientClose = (): void => {
    // Before the abort, which reports an error to this sink.
    this.#isOver = true;
    if (this.#relayed.exchange.hasClientLeft) this.#flow.abort(new Error("the client left"));
    this.#resolveClosed();
  };
}

/** Silence is normal in an event stream and in a gRPC stream, so only a configured limit applies to one. */
export function idleLimit({ prepared: { service } }: Route, headers: ResponseHeaders): number {
  if (service.idleTimeoutMs !== undefined) return service.idleTimeoutMs;
  return /^(?:text\/event-stream|application\/grpc)\b/i.test(String(headers["content-type"] ?? ""))
    ? 0
    : DEFAULT_IDLE_MS;
}

/** A reason phrase of the upstream's own, unless it holds characters that a status line must not (RFC 9112 section 4). */
function isReasonToRelay(status: number, reason: string): boolean {
  return reason !== STATUS_CODES[status] && /^[\t\x20-\x7e\x80-\xff]+$/.test(reason);
}
