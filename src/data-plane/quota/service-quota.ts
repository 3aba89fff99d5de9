/**
 * The upstream's limits for one service: gives each exchange its pass, and learns from the responses.
 * Invariant: what is known outlives a change of the service, as long as its upstream stays the same.
 */
import type { Service } from "../../config/schema.ts";
import type { GatewayError } from "../../errors.ts";
import type { CredentialPool, PoolMember } from "../credential/credential-provider.ts";
import { maxWaitMs } from "../preferred-wait.ts";
import { createQuotaClock, type QuotaClock, UpstreamClock } from "./clocks.ts";
import { CredentialAccounts, passedCredential, type QuotaContext } from "./credential-accounts.ts";
import { loosestOf, type QuotaState, type ServiceQuotaState, tightestOf, waitingIn } from "./describe.ts";
import { discordRules } from "./discord.ts";
import { githubRules } from "./github.ts";
import { limitTimes } from "./long-hold.ts";
import type { QuotaClient, QuotaExchange } from "./pass-contract.ts";
import { HoldingPass, type QuotaDecision } from "./passes.ts";
import { chooseObserved, type ObservedRequest, poolAccount, rankObserved } from "./pool-choice.ts";
import { bucketOf, type ResponseHeaders, readQuota } from "./read-quota.ts";
import { genericRules, type QuotaResponse, type QuotaRules } from "./rules.ts";

export function createQuotaContext(parts: Omit<QuotaContext, "clock">): QuotaContext {
  return { ...parts, clock: createQuotaClock() };
}

/** A response in observe mode that was not read yet. */
interface UnreadResponse {
  readonly parts: QuotaExchange;
  readonly status: number;
  readonly headers: ResponseHeaders;
  /** ms since the epoch. */
  readonly at: number;
}

/** Responses in observe mode are read together. */
const UNREAD_LIMIT = 100;
const UNREAD_MS = 250;

const RULES = { discord: discordRules, github: githubRules } as const;

export class ServiceQuota {
  readonly rules: QuotaRules;
  readonly #upstreamClock = new UpstreamClock();
  readonly #clock: QuotaClock;
  readonly #accounts: CredentialAccounts;
  #service: Service;
  /** Requests wait until the upstream accepts them. */
  isHolding: boolean;
  /** By credential, then by bucket. */
  readonly #unread = new Map<string, Map<string, UnreadResponse>>();
  #unreadCount = 0;
  #stopTimer: (() => void) | undefined;
  /** Responses that were refusals for too many requests. */
  #upstreamRefusals = 0;
  /** ms since the epoch; 0 while there was none. */
  #lastRefusalAt = 0;
  readonly #onEvent: QuotaContext["onEvent"];
  /** Over all credentials. */
  #waiting = 0;

  constructor(service: Service, context: QuotaContext) {
    this.#service = service;
    this.#clock = context.clock;
    this.#onEvent = context.onEvent;
    this.isHolding = service.quota.mode === "hold";
    this.rules = service.vendor === undefined ? genericRules : RULES[service.vendor];
    this.#accounts = new CredentialAccounts(() => this.#service, this.rules, context);
  }

  /** ms since the epoch, by a clock that never runs backwards. */
  now(): number {
    return this.#clock.now();
  }

  /** How long a request may wait for the quota, ms. */
  maxWaitMsOf({ req, earlierWaitMs }: Pick<QuotaClient, "req" | "earlierWaitMs">): number {
    return maxWaitMs(req.headers.prefer, this.#service.quota.maxWaitMs, earlierWaitMs);
  }

  /** In hold mode. */
  passOf(parts: QuotaExchange): HoldingPass {
    const { pool, exchange, sourceId, headers } = parts;
    const account =
      pool === undefined
        ? this.#accounts.of(sourceId, headers)
        : poolAccount(this.#accounts, pool, { voter: exchange.voter, pinned: exchange.poolUse?.pinned });
    return new HoldingPass(parts, this, account, this.maxWaitMsOf(exchange));
  }

  /** The credential of a pool for a request that does not wait: the one with the most left, as far as is known. */
  choose(pool: CredentialPool, asking: ObservedRequest): PoolMember {
    this.#readAll();
    return chooseObserved(this.#accounts, pool, { ...asking, route: this.rules.routeOf(asking.method, asking.path) });
  }

  /** The same, without using it. */
  peek(pool: CredentialPool, asking: ObservedRequest): PoolMember {
    this.#readAll();
    const route = this.rules.routeOf(asking.method, asking.path);
    return rankObserved(this.#accounts, pool, { ...asking, route })[0];
  }

  /** Requests that a credential of a pool may still send now; infinity if that is not known. */
  leftOf(member: PoolMember, { method, path }: Pick<ObservedRequest, "method" | "path">): number {
    const { pooled } = this.#accounts.ofMember(member).quota;
    const route = this.rules.routeOf(method, path);
    return (this.isHolding ? pooled.left(route) : pooled.leftUnreported(route)).requests;
  }

  /** Whether a credential of a pool can be used now. */
  isFree(member: PoolMember, { method, path }: Pick<ObservedRequest, "method" | "path">): boolean {
    const { pooled } = this.#accounts.ofMember(member).quota;
    const route = this.rules.routeOf(method, path);
    if (!this.isHolding) return pooled.leftUnreported(route).requests > 0;
    return pooled.isFree({ method, path, route });
  }

  /** A request begins to wait. */
  noteWaiting(): void {
    if (this.#waiting++ === 0) this.#onEvent({ service: this.#service.key, state: "holding" });
  }

  /** A request waits no longer. */
  noteReleased(): void {
    if (--this.#waiting === 0) this.#onEvent({ service: this.#service.key, state: "released" });
  }

  /** What would happen to a request in hold mode now: its bucket and its wait, or its refusal. Nothing is reserved. */
  decide(parts: QuotaExchange): Promise<QuotaDecision | GatewayError> {
    return this.passOf(parts).decide();
  }

  /** Whether what is known here holds for that service, too. */
  isFor({ key, baseUrl, vendor }: Service): boolean {
    const { key: ownKey, baseUrl: ownUrl, vendor: ownVendor } = this.#service;
    return ownKey === key && ownVendor === vendor && new URL(ownUrl).origin === new URL(baseUrl).origin;
  }

  /** The service was changed: what is known stays. */
  configure(service: Service): void {
    this.#readAll();
    this.#service = service;
    this.isHolding = service.quota.mode === "hold";
  }

  get #maxHoldMs(): number {
    return this.#service.quota.maxHoldMs ?? this.rules.longestHoldMs;
  }

  /** Reads a response, and counts it if it is a refusal. */
  read(status: number, headers: ResponseHeaders, at = this.now()): QuotaResponse {
    const reading = limitTimes(readQuota(headers, at, this.#upstreamClock), at + this.#maxHoldMs);
    const closure = this.rules.closureOf(status, reading, at);
    if (closure !== undefined) {
      this.#upstreamRefusals++;
      this.#lastRefusalAt = at;
      this.#onEvent({ service: this.#service.key, state: "refused", until: closure.until });
    }
    return { status, reading, closure };
  }

  /**
   * In observe mode, for a failure and for a response with a quota header. Of many responses in a moment, the last one of each bucket
   * is enough; a failure is read at once.
   */
  observe(parts: QuotaExchange, status: number, headers: ResponseHeaders): void {
    const unread = { parts, status, headers, at: this.now() };
    if (status >= 400) return this.#readObserved(unread);
    const { authorization } = parts.exchange.req.headers;
    const holder = parts.sourceId ?? authorization ?? passedCredential(parts.headers);
    let ofHolder = this.#unread.get(holder);
    if (ofHolder === undefined) {
      ofHolder = new Map();
      this.#unread.set(holder, ofHolder);
    }
    this.#unreadCount -= ofHolder.size;
    ofHolder.set(bucketOf(headers) ?? "", unread);
    this.#unreadCount += ofHolder.size;
    if (this.#unreadCount > UNREAD_LIMIT) this.#readAll();
    else this.#stopTimer ??= this.#clock.after(UNREAD_MS, () => this.#readAll());
  }

  #forgetUnread(): void {
    this.#unread.clear();
    this.#unreadCount = 0;
  }

  #readAll(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    const all = [...this.#unread.values()];
    this.#forgetUnread();
    for (const ofHolder of all) for (const unread of ofHolder.values()) this.#readObserved(unread);
  }

  #readObserved({ parts, status, headers, at }: UnreadResponse): void {
    const response = this.read(status, headers, at);
    const { reading, closure } = response;
    const isSilent = reading.windows.length === 0 && closure === undefined;
    // A response that says nothing of a quota needs no account.
    if (isSilent && !this.rules.refusals?.counts(status, reading.scope)) return;
    const route = this.rules.routeOf(parts.exchange.method, parts.path);
    const { member, sourceId } = parts;
    const account = member === undefined ? this.#accounts.of(sourceId, parts.headers) : this.#accounts.ofMember(member);
    account.quota.observe(route, response, at);
  }

  describe(): ServiceQuotaState {
    this.#readAll();
    const at = this.now();
    const limit = this.rules.refusals?.limit;
    const credentials: QuotaState[] = [];
    const pooled: QuotaState[] = [];
    for (const account of this.#accounts) {
      const { quota, source, fingerprint } = account;
      const { refusals: count, ...state } = quota.describe(at);
      const refusals = count === undefined || limit === undefined ? null : { count, limit };
      const described = { source, fingerprint, ...state, refusals };
      credentials.push(described);
      if (this.#accounts.isPooled(account)) pooled.push(described);
    }
    return {
      ...this.#service.quota,
      maxHoldMs: this.#maxHoldMs,
      at,
      upstreamRefusals: this.#upstreamRefusals,
      lastRefusalAt: this.#lastRefusalAt,
      credentials,
      waiting: waitingIn(credentials) + this.#accounts.waitingInPool,
      tightest: pooled.length === 0 ? tightestOf(credentials) : loosestOf(pooled),
    };
  }

  /** Forgets what was learned; requests that already wait keep waiting. */
  async reset(): Promise<void> {
    this.#forgetUnread();
    await this.#accounts.reset();
  }

  /** The process ends: no request waits longer than this. */
  drain(withinMs: number): void {
    this.#accounts.drain(this.now() + withinMs);
  }
}
