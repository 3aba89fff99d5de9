/**
 * The quotas of one service: one for each credential that its requests bear.
 * Invariant: two credentials never share an account; what is known outlives a change of the service, and of a secret as long as
 * it is the same; and whoever invents credentials does not fill the memory.
 */
import type { IncomingHttpHeaders } from "node:http";
import { LONGEST_TIMER_MS, type Service } from "../../config/schema.ts";
import type { GatewayError } from "../../errors.ts";
import type { QuotaState, ServiceQuotaState } from "../../registry/quota-state.ts";
import type { Fingerprint } from "../../stores/installation-key.ts";
import type { Ledger } from "../../stores/ledger.ts";
import type { PreparedCredential } from "../inject-credential/inject-credential.ts";
import { CredentialQuota } from "./credential-quota.ts";
import { discordRules } from "./discord.ts";
import { githubRules } from "./github.ts";
import { HoldingPass } from "./holding-pass.ts";
import { type ObservedAnswer, ObservingPass } from "./observing-pass.ts";
import { passedCredential } from "./passed-credential.ts";
import { preferredWaitMs } from "./prefer-wait.ts";
import type { QuotaPass } from "./quota-pass.ts";
import { type QuotaExchange, quotaRefusal, requestOf } from "./quota-request.ts";
import { bucketOf, readQuota } from "./read-quota.ts";
import { genericRules, type QuotaRules } from "./rules.ts";
import { createSteadyClock } from "./steady-clock.ts";
import type { QuotaClock } from "./ticket.ts";
import { UpstreamClock } from "./upstream-clock.ts";

/** What outlives every service. */
export interface QuotaContext {
  readonly ledger: Ledger;
  readonly fingerprint: Fingerprint;
  readonly clock: QuotaClock;
  /** Of all services together: MAX_IN_FLIGHT; 0 for no cap. */
  readonly maxInFlight: number;
}

export function createQuotaContext(ledger: Ledger, fingerprint: Fingerprint, maxInFlight: number): QuotaContext {
  return { ledger, fingerprint, maxInFlight, clock: { now: createSteadyClock(), after: wakeAfter } };
}

/** Whoever waits keeps the process by its socket. A timer that fires too early is set again by whoever is woken. */
function wakeAfter(ms: number, run: () => void): () => void {
  const timer = setTimeout(run, Math.min(Math.ceil(ms), LONGEST_TIMER_MS)).unref();
  return () => clearTimeout(timer);
}

interface HeldCredential {
  readonly quota: CredentialQuota;
  /** The ledger has told what it knows of it. */
  readonly ready: Promise<void>;
  readonly source: string | null;
  readonly fingerprint: string | null;
}

/** Of callers' own: those that were used the longest ago make room. */
const CREDENTIALS_LIMIT = 1_000;

/** Answers of observed services that are read together. */
const UNREAD_LIMIT = 100;
const UNREAD_MS = 250;

const RULES = { discord: discordRules, github: githubRules } as const;

export class ServiceQuota {
  readonly rules: QuotaRules;
  readonly clock = new UpstreamClock();
  readonly #context: QuotaContext;
  #service: Service;
  /** By the value that is sent; that of the gateway's own, and, once it was exchanged, those before. */
  readonly #own = new Map<string, HeldCredential>();
  /** By what they look like; empty for requests that bear none. */
  readonly #passed = new Map<string, HeldCredential>();
  /** By bucket and credential. */
  readonly #unread = new Map<string, ObservedAnswer>();
  #stopTimer: (() => void) | undefined;
  #drainsUntil: number | undefined;
  /** Answers that were refusals for too many requests. */
  upstreamRefusals = 0;
  /** ms since the epoch; 0 while there was none. */
  lastRefusalAt = 0;

  constructor(service: Service, context: QuotaContext) {
    this.#service = service;
    this.#context = context;
    this.rules = service.vendor === undefined ? genericRules : RULES[service.vendor];
  }

  /** Ms since the epoch, by a clock that never goes back. */
  now(): number {
    return this.#context.clock.now();
  }

  get settings(): Service["quota"] {
    return this.#service.quota;
  }

  /** Requests wait until they will succeed. */
  get isHolding(): boolean {
    return this.settings.mode === "hold";
  }

  /** ms that a request of these headers waits at most. */
  patienceOf({ prefer }: IncomingHttpHeaders): number {
    return preferredWaitMs(prefer) ?? this.settings.maxWaitMs;
  }

  passOf(parts: QuotaExchange): QuotaPass {
    if (!this.isHolding) return new ObservingPass(parts, this, this.#observe);
    const { quota, ready } = this.#of(parts.credential, parts.headers);
    return new HoldingPass(parts, this, { quota, ready, patienceMs: this.patienceOf(parts.exchange.req.headers) });
  }

  /** What would become of a request now: its bucket and its wait, or its refusal. Nothing is set aside. */
  async decide(parts: QuotaExchange): Promise<{ readonly bucket: string; readonly waitMs: number } | GatewayError> {
    const { quota, ready } = this.#of(parts.credential, parts.headers);
    await ready;
    const outcome = quota.decide(requestOf(parts, this.patienceOf(parts.exchange.req.headers)));
    return "reason" in outcome ? quotaRefusal(outcome, parts.service.key, this.now()) : outcome;
  }

  /** Whether what is known here holds for that service too. */
  isFor({ key, baseUrl, vendor }: Service): boolean {
    const { origin } = new URL(baseUrl);
    return this.#service.key === key && this.#origin === origin && this.#service.vendor === vendor;
  }

  /** The service was changed: what is known goes on. */
  configure(service: Service): void {
    this.#readAll();
    this.#service = service;
  }

  /** Of the credential that a request bears. @param headers flat list, as they go upstream. */
  #of(credential: PreparedCredential, headers: readonly string[]): HeldCredential {
    if (credential.place === "header" || credential.place === "query") {
      return this.#own.get(credential.value) ?? this.#openOwn(credential.value);
    }
    const text = passedCredential(headers);
    const held = this.#passed.get(text) ?? this.#openPassed(text);
    // The last used is the last in the Map.
    this.#passed.delete(text);
    this.#passed.set(text, held);
    return held;
  }

  /** Of many answers in a moment the last one of each bucket says all that is to be known; a refusal is looked at by itself. */
  readonly #observe = (answer: ObservedAnswer): void => {
    if (answer.status >= 400) return this.#read(answer);
    const { exchange, credential, headers } = answer.parts;
    const isOwn = credential.place === "header" || credential.place === "query";
    const whose = isOwn ? "" : (exchange.req.headers.authorization ?? passedCredential(headers));
    this.#unread.set(`${bucketOf(answer.headers) ?? ""}\n${whose}`, answer);
    if (this.#unread.size > UNREAD_LIMIT) this.#readAll();
    else this.#stopTimer ??= this.#context.clock.after(UNREAD_MS, () => this.#readAll());
  };

  #readAll(): void {
    this.#stopTimer?.();
    this.#stopTimer = undefined;
    const answers = [...this.#unread.values()];
    this.#unread.clear();
    for (const answer of answers) this.#read(answer);
  }

  #read({ parts, status, headers, at }: ObservedAnswer): void {
    const reading = readQuota(headers, at, this.clock);
    const isRefusal = this.rules.closureOf(status, reading, at) !== undefined;
    if (isRefusal) this.noteRefusal(at);
    const { exchange, path, credential } = parts;
    // Whose quota it is need not be known where nothing was told of it.
    if (reading.windows.length === 0 && !isRefusal && !this.rules.refusals?.counts(status, reading.scope)) return;
    const { method } = exchange;
    this.#of(credential, parts.headers).quota.observe({ method, path }, status, reading, at);
  }

  noteRefusal(now: number): void {
    this.upstreamRefusals++;
    this.lastRefusalAt = now;
  }

  describe(): ServiceQuotaState {
    this.#readAll();
    const now = this.now();
    const { mode, maxWaitMs, maxQueue } = this.settings;
    const credentials: QuotaState[] = [];
    for (const { quota, source, fingerprint } of this.#held()) {
      const { refusals, ...state } = quota.describe(now);
      const limit = this.rules.refusals?.limit;
      const counted = refusals === undefined || limit === undefined ? null : { count: refusals, limit };
      credentials.push({ source, fingerprint, ...state, refusals: counted });
    }
    const { upstreamRefusals, lastRefusalAt } = this;
    return { ...{ at: now, mode, maxWaitMs, maxQueue, upstreamRefusals, lastRefusalAt }, credentials };
  }

  /** What was told of it is forgotten; who waits already waits on. */
  async reset(): Promise<void> {
    this.#unread.clear();
    this.#own.clear();
    this.#passed.clear();
    await this.#context.ledger.forget(`${this.#service.key}\n`);
  }

  /** From now on nobody waits longer than until then. */
  drain(withinMs: number): void {
    const until = this.now() + withinMs;
    this.#drainsUntil = until;
    for (const { quota } of this.#held()) quota.drain(until);
  }

  *#held(): Iterable<HeldCredential> {
    yield* this.#own.values();
    yield* this.#passed.values();
  }

  get #origin(): string {
    return new URL(this.#service.baseUrl).origin;
  }

  #openOwn(value: string): HeldCredential {
    this.#forgetIdle(this.#own);
    const { credential } = this.#service;
    const secret = credential?.secret?.reveal();
    const fingerprint = secret === undefined ? null : this.#context.fingerprint.credential(secret);
    const held = { ...this.#open(value), source: credential?.source ?? null, fingerprint };
    this.#own.set(value, held);
    return held;
  }

  #openPassed(text: string): HeldCredential {
    if (this.#passed.size >= CREDENTIALS_LIMIT) this.#makeRoom();
    if (text === "") return { ...this.#open(text), source: null, fingerprint: null };
    const fingerprint = this.#context.fingerprint.quota(`passed ${text}`).slice(0, 8);
    return { ...this.#open(text), source: "caller", fingerprint };
  }

  #open(text: string): Pick<HeldCredential, "quota" | "ready"> {
    const { ledger, clock, fingerprint, maxInFlight: all } = this.#context;
    // By its upstream too: a service that is pointed elsewhere has another quota there.
    const prefix = `${this.#service.key}\n${fingerprint.quota(`${this.#origin} ${text}`)}\n`;
    const configured = () => this.#service;
    const quota = new CredentialQuota({
      ...{ rules: this.rules, ledger, prefix, clock },
      get maxQueue() {
        return configured().quota.maxQueue;
      },
      get maxInFlight() {
        const caps = [configured().maxConcurrent, all].filter((cap) => cap > 0);
        return caps.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...caps);
      },
    });
    if (this.#drainsUntil !== undefined) quota.drain(this.#drainsUntil);
    return { quota, ready: this.#restore(quota, prefix) };
  }

  /** From before a restart, or from before it had to make room here. A ledger that fails stops nobody. */
  async #restore(quota: CredentialQuota, prefix: string): Promise<void> {
    const { ledger, clock } = this.#context;
    const entries = await ledger.list(clock.now(), prefix).catch(() => []);
    quota.restore(
      entries.map(({ key, account }) => [key, account] as const),
      clock.now(),
    );
  }

  #forgetIdle(held: Map<string, HeldCredential>): void {
    for (const [key, { quota }] of held) if (quota.isIdle) held.delete(key);
  }

  /** One of which nothing would be missed, else the one that was used the longest ago: what it knows is in the ledger still. */
  #makeRoom(): void {
    let oldest: string | undefined;
    for (const [text, { quota }] of this.#passed) {
      if (quota.waiting > 0) continue;
      oldest ??= text;
      if (!quota.isIdle) continue;
      oldest = text;
      break;
    }
    if (oldest !== undefined) this.#passed.delete(oldest);
  }
}
