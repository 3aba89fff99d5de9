/**
 * `quota.mode: hold`: an exchange's wait and its tickets.
 * Invariant: every ticket that was given is given back, whatever became of the attempt; and whoever waits holds no place.
 */
import type { GatewayError } from "../../errors.ts";
import { readAhead } from "../client-connection.ts";
import type { Exchange } from "../exchange.ts";
import type { CredentialQuota } from "./credential-quota.ts";
import type { PassState, QuotaPass } from "./quota-pass.ts";
import { type QuotaExchange, quotaRefusal, requestOf } from "./quota-request.ts";
import { type AnswerHeaders, readQuota } from "./read-quota.ts";
import type { QuotaRules } from "./rules.ts";
import type { QuotaRequest, Ticket } from "./ticket.ts";
import type { UpstreamClock } from "./upstream-clock.ts";

/** What the exchanges of a service have in common. */
export interface HoldingService {
  readonly rules: Pick<QuotaRules, "closureOf">;
  readonly clock: UpstreamClock;
  /** Ms since the epoch. */
  now(): number;
  /** An answer was a refusal for too many requests. */
  noteRefusal(now: number): void;
}

/** The quota of the credential that the exchange bears. */
export interface AskedQuota {
  readonly quota: CredentialQuota;
  /** It knows what the ledger does. */
  readonly ready: Promise<void>;
  /** ms that the exchange waits at most, over all its attempts. */
  readonly patienceMs: number;
}

export class HoldingPass implements QuotaPass {
  readonly #service: HoldingService;
  readonly #asked: AskedQuota;
  readonly #parts: QuotaExchange;
  #ticket: Ticket | undefined;
  #wasSent = false;
  state: PassState = "passed";
  wasRefused = false;

  constructor(parts: QuotaExchange, service: HoldingService, asked: AskedQuota) {
    this.#service = service;
    this.#asked = asked;
    this.#parts = parts;
  }

  async enter(withinMs = Number.POSITIVE_INFINITY): Promise<GatewayError | undefined> {
    this.end();
    await this.#asked.ready;
    const { exchange, service } = this.#parts;
    let stopWaiting = () => {};
    const outcome = await this.#asked.quota.admit(this.#request(withinMs), (leave) => {
      this.state = "held";
      stopWaiting = hold(exchange, leave);
    });
    stopWaiting();
    if (outcome === undefined) return undefined;
    if ("reason" in outcome) return quotaRefusal(outcome, service.key, this.#service.now());
    this.#ticket = outcome;
    return undefined;
  }

  sent(): void {
    this.#wasSent = true;
  }

  answered(status: number, headers: AnswerHeaders): void {
    const now = this.#service.now();
    const reading = readQuota(headers, now, this.#service.clock);
    this.wasRefused = this.#service.rules.closureOf(status, reading, now) !== undefined;
    if (this.wasRefused) this.#service.noteRefusal(now);
    this.#ticket?.answered(status, reading);
    this.#ticket = undefined;
  }

  mayGoAgain(withinMs: number): boolean {
    return !("reason" in this.#asked.quota.decide(this.#request(withinMs)));
  }

  #request(withinMs: number): QuotaRequest {
    const patienceMs = Math.max(0, this.#asked.patienceMs - this.#parts.exchange.queuedMs);
    return requestOf(this.#parts, Math.min(withinMs, patienceMs));
  }

  end(): void {
    if (this.#wasSent) this.#ticket?.lost();
    else this.#ticket?.unused();
    this.#ticket = undefined;
    this.#wasSent = false;
    this.wasRefused = false;
  }
}

/** The exchange waits: it holds no place, and its client may leave at any moment. @returns what ends that. */
function hold(exchange: Exchange, leave: () => void): () => void {
  const since = performance.now();
  const stopWatching = watchUpgrade(exchange);
  exchange.stepAside();
  exchange.onClose = leave;
  return () => {
    exchange.onClose = undefined;
    exchange.queuedMs += performance.now() - since;
    stopWatching();
  };
}

/** Nobody reads the socket of an upgrade, and only one that is read tells that its client has left. */
function watchUpgrade({ req: { headers, socket } }: Exchange): () => void {
  if (headers.upgrade === undefined) return () => {};
  const early = readAhead(socket);
  const onEnd = () => socket.destroy();
  socket.once("end", onEnd);
  return () => {
    socket.off("end", onEnd);
    early.stop();
    early.giveBack();
  };
}
