/**
 * A WebSocket's handshake with the upstream: one attempt, on a connection of its own.
 * Invariant: it ends within the service's deadlines: with the upstream's socket after a 101, with its refusal relayed to the client,
 * with a GatewayError, or because the client left, which it may do at any moment.
 */
import type { Socket } from "node:net";
import { GatewayError } from "../../../errors.ts";
import { readAhead } from "../../client-connection.ts";
import type { Exchange } from "../../exchange.ts";
import type { Route } from "../../identify.ts";
import type { ResponseParts } from "../answer-headers.ts";
import { Attempt } from "../attempt.ts";
import type { AttemptOutcome } from "../breaker.ts";
import { Deadline, type Expiry } from "../deadline.ts";
import { responseTimeout } from "../failures.ts";
import { Relay } from "../relay.ts";
import type { ResponseSink } from "../response-sink.ts";
import type { ResponseHeaders } from "../transport/response-fields.ts";
import { dispatchAlone } from "../transport/single-use.ts";
import type { UpstreamRequest } from "../upstream-request.ts";
import { Refusal } from "./refusal.ts";

/** An admitted handshake. */
export interface Upgrade {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly request: UpstreamRequest;
  /** The bytes that the client sent after its handshake. */
  readonly head: Buffer;
}

export interface HandshakeParts extends ResponseParts {
  /** The head of the request to the upstream. */
  readonly upgradeHead: string;
  /** Called with the head of the upstream's response, before it is judged or relayed. */
  readonly onResponse: (status: number, headers: ResponseHeaders) => void;
  /** Called with what the breaker has to know; only the first call counts. */
  readonly judge: (outcome: AttemptOutcome, wasConnected: boolean) => void;
}

/** The upstream accepted: both sockets are paused. */
export interface Accepted {
  readonly headers: ResponseHeaders;
  readonly socket: Socket;
  /** Bytes that the client sent before the response. */
  readonly earlyBytes: number;
  /** Gives the early bytes back to the client's socket, which the upstream's will read from. */
  returnEarlyBytes(): void;
}

/** @returns undefined where there is no WebSocket: the client has the upstream's refusal, or has left. @throws GatewayError */
export function shakeHands(upgrade: Upgrade, parts: HandshakeParts): Promise<Accepted | undefined> {
  return new Handshake(upgrade, parts).run();
}

class Handshake {
  readonly #upgrade: Upgrade;
  readonly #parts: HandshakeParts;
  readonly #deadline: Deadline;
  readonly #early: ReturnType<typeof readAhead>;
  readonly #attempt: Attempt;
  #refusal: Refusal | undefined;
  #accepted: Accepted | undefined;

  constructor(upgrade: Upgrade, parts: HandshakeParts) {
    const { exchange, route, head } = upgrade;
    this.#upgrade = upgrade;
    this.#parts = parts;
    this.#deadline = new Deadline(route.prepared.service, exchange.dueFrom, (expiry) => this.#onExpire(expiry));
    this.#early = readAhead(exchange.req.socket, head);
    this.#attempt = this.#createAttempt();
  }

  async run(): Promise<Accepted | undefined> {
    const { exchange } = this.#upgrade;
    let outcome: AttemptOutcome;
    try {
      if (exchange.res.closed) return undefined;
      this.#attempt.begin("new");
      const result = await this.#attempt.result;
      if (result.kind === "ended" || result.kind === "failed") {
        outcome = result.error;
        throw result.error;
      }
      await this.#refusal?.over();
      return this.#accepted;
    } finally {
      this.#parts.judge(outcome, this.#attempt.wasSent);
      this.#deadline.stop();
      if (this.#refusal === undefined) this.#early.stop();
      exchange.onClose = undefined;
    }
  }

  #createAttempt(): Attempt {
    const { exchange, route, request } = this.#upgrade;
    const { service, dial } = route.prepared;
    return new Attempt({
      exchange,
      service,
      deadline: this.#deadline,
      transport: { dispatch: (sent, listener) => dispatchAlone(dial, sent, listener) },
      request: { ...request, upgradeHead: this.#parts.upgradeHead },
      recheck: () => undefined,
      // A client that waits for a 101 expects no other interim response.
      relayInterim: () => {},
      chooseSink: this.#refuse,
      takeSocket: this.#accept,
    });
  }

  readonly #refuse = (status: number, headers: ResponseHeaders): ResponseSink => {
    const { exchange, route, request } = this.#upgrade;
    this.#parts.onResponse(status, headers);
    this.#parts.judge(status, true);
    this.#early.discard();
    const { wantsTrailers } = request;
    const relay = new Relay({ exchange, route, deadline: this.#deadline, wantsTrailers, parts: this.#parts });
    this.#refusal = new Refusal(exchange, relay, route.prepared.service.timeoutMs);
    return route.prepared.scrub?.createSink(this.#refusal, exchange, this.#deadline) ?? this.#refusal;
  };

  readonly #accept = (socket: Socket, headers: ResponseHeaders): void => {
    socket.on("error", destroyItself);
    if (!isWebSocket(headers)) throw switchedElsewhere(this.#upgrade.route.prepared.service.key);
    this.#parts.onResponse(101, headers);
    this.#parts.judge(101, true);
    const early = this.#early;
    early.stop();
    this.#accepted = { headers, socket, earlyBytes: early.bytes, returnEarlyBytes: early.unshift };
  };

  #onExpire(expiry: Expiry): void {
    if (expiry === "body-idle") this.#refusal?.expire();
    else this.#attempt.fail(responseTimeout(this.#upgrade.route.prepared.service));
  }
}

/** No closure: it would keep the handshake in memory as long as the socket is open. */
function destroyItself(this: Socket): void {
  this.destroy();
}

/** RFC 6455 section 4.1. */
function isWebSocket({ upgrade, connection }: ResponseHeaders): boolean {
  return String(upgrade).toLowerCase() === "websocket" && /(?:^|,)\s*upgrade\s*(?:,|$)/i.test(String(connection));
}

function switchedElsewhere(serviceKey: string): GatewayError {
  return new GatewayError("UPSTREAM_PROTOCOL_ERROR", {
    message: `${serviceKey}: it switched to a protocol other than WebSocket (http).`,
  });
}
