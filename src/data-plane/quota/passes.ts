/**
 * The pass of an exchange in `hold` mode: it waits for a ticket before each attempt.
 * Invariant: every ticket ends, however the attempt ends; and an exchange holds no slot while it waits.
 */
import { GatewayError } from "../../errors.ts";
import { plural } from "../../plural.ts";
import type { PoolMember } from "../credential/credential-provider.ts";
import { startWaiting } from "../waiting-client.ts";
import type { QuotaExchange, QuotaPass } from "./pass-contract.ts";
import type { ResponseHeaders } from "./read-quota.ts";
import type { QuotaResponse, QuotaRoute, QuotaRules } from "./rules.ts";
import type { QuotaRefusal, QuotaRequest, Ticket } from "./ticket.ts";

/** What the exchanges of one service share. */
export interface HoldingService {
  readonly rules: Pick<QuotaRules, "routeOf">;
  /** ms since the epoch. */
  now(): number;
  /** Reads a response, and counts it if it is a refusal. */
  read(status: number, headers: ResponseHeaders): QuotaResponse;
  /** A request begins to wait. */
  noteWaiting(): void;
  /** It waits no longer. */
  noteReleased(): void;
}

/** A reservation lasts this much longer than the deadline of the response, ms. */
const LEASE_MARGIN_MS = 1_000;

/** The queue in which the requests of an account wait: of one credential, or of a pool. */
export interface HoldingAccount {
  /** Resolves when what is known from before is there. */
  readonly ready: Promise<void>;
  readonly quota: {
    decide(request: QuotaRequest): QuotaDecision | QuotaRefusal;
    admit(request: QuotaRequest, onQueued: (leave: () => void) => void): Promise<PassTicket | QuotaRefusal | undefined>;
  };
}

export interface QuotaDecision {
  readonly bucket: string;
  readonly waitMs: number;
  /** Of a pool: the credential that would be used. */
  readonly member?: PoolMember;
}

/** Of a pool: with the credential that it is for. */
type PassTicket = Ticket & { readonly member?: PoolMember };

export class HoldingPass implements QuotaPass {
  readonly #service: HoldingService;
  readonly #account: HoldingAccount;
  readonly #parts: QuotaExchange;
  /** Over all attempts, ms. */
  readonly #maxWaitMs: number;
  readonly #route: QuotaRoute;
  #ticket: Ticket | undefined;
  #wasSent = false;
  wasRefused = false;

  constructor(parts: QuotaExchange, service: HoldingService, account: HoldingAccount, maxWaitMs: number) {
    this.#service = service;
    this.#account = account;
    this.#parts = parts;
    this.#maxWaitMs = maxWaitMs;
    parts.exchange.quotaOutcome = "passed";
    this.#route = service.rules.routeOf(parts.exchange.method, parts.path);
  }

  /** What would happen to the request now: its bucket and its wait, or its refusal. Nothing is reserved. */
  async decide(): Promise<QuotaDecision | GatewayError> {
    await this.#account.ready;
    const decision = this.#account.quota.decide(this.#request());
    return "reason" in decision ? this.#refusalOf(decision) : decision;
  }

  async enter(withinMs?: number): Promise<GatewayError | undefined> {
    this.end();
    await this.#account.ready;
    let stopWaiting = () => {};
    const outcome = await this.#account.quota.admit(this.#request(withinMs), (leave) => {
      this.#parts.exchange.quotaOutcome = "held";
      this.#service.noteWaiting();
      const stop = startWaiting(this.#parts.exchange, leave);
      stopWaiting = () => {
        stop();
        this.#service.noteReleased();
      };
    });
    stopWaiting();
    if (outcome === undefined) return undefined;
    if ("reason" in outcome) return this.#refusalOf(outcome);
    this.#ticket = outcome;
    const { exchange } = this.#parts;
    if (outcome.member !== undefined) exchange.poolUse = { ...exchange.poolUse, chosen: outcome.member };
    return undefined;
  }

  sent(): void {
    this.#wasSent = true;
  }

  responded(status: number, headers: ResponseHeaders): void {
    const response = this.#service.read(status, headers);
    this.wasRefused = response.closure !== undefined;
    this.#ticket?.responded(response);
    this.#ticket = undefined;
  }

  canRetry(withinMs: number): boolean {
    return !("reason" in this.#account.quota.decide(this.#request(withinMs)));
  }

  end(): void {
    if (this.#wasSent) this.#ticket?.lost();
    else this.#ticket?.unused();
    this.#ticket = undefined;
    this.#wasSent = false;
    this.wasRefused = false;
  }

  #request(withinMs = Number.POSITIVE_INFINITY): QuotaRequest {
    const { exchange, service, path } = this.#parts;
    return {
      method: exchange.method,
      path,
      route: this.#route,
      callerId: exchange.callerId,
      maxWaitMs: Math.min(withinMs, Math.max(0, this.#maxWaitMs - exchange.queuedMs)),
      leaseMs: service.timeoutMs + LEASE_MARGIN_MS,
    };
  }

  #refusalOf({ bucket, retryAt, reason }: QuotaRefusal): GatewayError {
    const { key } = this.#parts.service;
    if (reason === "draining") {
      const message = `The gateway is shutting down, and ${key} would not accept this request before that.`;
      return new GatewayError("SHUTTING_DOWN", { message });
    }
    const seconds = Math.max(1, Math.ceil((retryAt - this.#service.now()) / 1_000));
    const why = reason === "queue full" ? "the queue is full" : "this request may not wait that long";
    const room = `It accepts requests again in ${plural(seconds, "second")}.`;
    return new GatewayError("UPSTREAM_QUOTA_EXHAUSTED", {
      message: `The quota of ${key} is used up, and ${why}. ${room}`,
      headers: ["Retry-After", String(seconds)],
      extra: { quota: { bucket, reason, retryAt: new Date(retryAt).toISOString() } },
    });
  }
}
