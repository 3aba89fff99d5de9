/**
 * The quota accounts of one service, one for each credential that its requests carry.
 * Invariant: two credentials never share an account; an account outlives a change of the credential as long as its source id is the
 * same; and a client that invents credentials cannot fill the memory.
 */
import type { Service } from "../../config/schema.ts";
import type { Fingerprint } from "../../stores/installation-key.ts";
import type { Account, Ledger } from "../../stores/ledger.ts";
import type { CredentialPool, PoolMember } from "../credential/credential-provider.ts";
import type { QuotaClock } from "./clocks.ts";
import { CredentialQuota } from "./credential-quota.ts";
import type { QuotaState } from "./describe.ts";
import { isHold } from "./learn.ts";
import { PooledQuota } from "./pooled-quota.ts";
import type { QuotaRules } from "./rules.ts";

/** Shared by all services, and kept when they change. */
export interface QuotaContext {
  readonly ledger: Ledger;
  readonly fingerprint: Pick<Fingerprint, "quota">;
  /** What `/manage/quota` shows of the credential that the gateway adds. */
  readonly showCredential: (credential: Service["credential"]) => Pick<QuotaState, "source" | "fingerprint">;
  readonly clock: QuotaClock;
  /** Of all services together: MAX_IN_FLIGHT; 0 for no cap. */
  readonly maxInFlight: number;
  readonly onEvent: (event: QuotaEvent) => void;
}

/** What changed for the requests of a service. */
export interface QuotaEvent {
  readonly service: string;
  /** `refused`: by the upstream; `holding`: the first request waits for the quota; `released`: no request waits any more. */
  readonly state: "refused" | "holding" | "released";
  /** With `refused`: when the upstream accepts requests again, as far as it is known; ms since the epoch. */
  readonly until?: number;
}

export interface CredentialAccount extends Pick<QuotaState, "source" | "fingerprint"> {
  readonly quota: CredentialQuota;
  /** Resolves when the ledger's accounts are restored. */
  readonly ready: Promise<void>;
}

/** Callers' own credentials: the least recently used are dropped. */
const PASSED_LIMIT = 1_000;

export class CredentialAccounts {
  readonly #service: () => Service;
  readonly #rules: QuotaRules;
  readonly #context: QuotaContext;
  /** Begins the ledger's keys of the service. */
  readonly #serviceKey: string;
  readonly #origin: string;
  /** Of the gateway's own credential, by source id; earlier ones stay until they are idle. */
  readonly #own = new Map<string, CredentialAccount>();
  /** Of callers' own credentials; an empty key for requests without one. The most recently used are the last. */
  readonly #passed = new Map<string, CredentialAccount>();
  /** Those of the latest pool: one that is idle may be taken from at this moment. */
  #pooledIds: ReadonlySet<string> = new Set();
  #pool: CredentialPool | undefined;
  #pooled: PooledQuota | undefined;
  #drainsUntil: number | undefined;

  /** @param service called at each use, because the service may change, except for its key and its origin. */
  constructor(service: () => Service, rules: QuotaRules, context: QuotaContext) {
    const { key, baseUrl } = service();
    this.#service = service;
    this.#rules = rules;
    this.#context = context;
    this.#serviceKey = key;
    this.#origin = new URL(baseUrl).origin;
  }

  /** @param sourceId of the credential that the gateway adds; undefined for none. @param headers flat list, as sent to the upstream. */
  of(sourceId: string | undefined, headers: readonly string[]): CredentialAccount {
    if (sourceId !== undefined) return this.#own.get(sourceId) ?? this.#openOwn(sourceId);
    const credential = passedCredential(headers);
    const account = this.#passed.get(credential) ?? this.#openPassed(credential);
    // Moved to the end of the Map: it is the most recently used.
    this.#passed.delete(credential);
    this.#passed.set(credential, account);
    return account;
  }

  /** The one queue of all credentials of a pool; a request that waits keeps the credentials of its own pool. */
  get pooled(): PooledQuota {
    if (this.#pooled !== undefined) return this.#pooled;
    const service = this.#service;
    this.#pooled = new PooledQuota({
      accountOf: (member) => this.ofMember(member).quota.pooled,
      clock: this.#context.clock,
      get maxQueue() {
        return service().quota.maxQueue;
      },
    });
    if (this.#drainsUntil !== undefined) this.#pooled.drain(this.#drainsUntil);
    return this.#pooled;
  }

  /** Whether it belongs to the pool that was used last. */
  isPooled(account: CredentialAccount): boolean {
    return [...this.#pooledIds].some((id) => this.#own.get(id) === account);
  }

  /** Requests that wait for a credential of a pool. */
  get waitingInPool(): number {
    return this.#pooled?.waiting ?? 0;
  }

  /** Opens the accounts of all its credentials. */
  ofPool(pool: CredentialPool): readonly CredentialAccount[] {
    if (pool !== this.#pool) {
      this.#pool = pool;
      pool.memory.onUsable = () => this.#pooled?.changed();
      this.#pooledIds = new Set(pool.members.map(({ sourceId }) => sourceId));
    }
    return pool.members.map((member) => this.ofMember(member));
  }

  ofMember({ sourceId, credential }: PoolMember): CredentialAccount {
    return this.#own.get(sourceId) ?? this.#openOwn(sourceId, credential);
  }

  *[Symbol.iterator](): Iterator<CredentialAccount> {
    yield* this.#own.values();
    yield* this.#passed.values();
  }

  /** Forgets all of them; requests that already wait keep waiting. */
  async reset(): Promise<void> {
    this.#own.clear();
    this.#passed.clear();
    await this.#context.ledger.forget(`${this.#serviceKey}\n`);
    this.#pooled?.changed();
  }

  /** The process ends. @param until no request waits longer, ms since the epoch. */
  drain(until: number): void {
    this.#drainsUntil = until;
    for (const { quota } of this) quota.drain(until);
    this.#pooled?.drain(until);
  }

  /** @param shown of a pool: the one credential. */
  #openOwn(sourceId: string, shown = this.#service().credential): CredentialAccount {
    for (const [key, { quota }] of this.#own) {
      if (quota.isIdle && !this.#pooledIds.has(key)) this.#own.delete(key);
    }
    const account = { ...this.#open(sourceId), ...this.#context.showCredential(shown) };
    this.#own.set(sourceId, account);
    return account;
  }

  #openPassed(credential: string): CredentialAccount {
    if (this.#passed.size >= PASSED_LIMIT) this.#makeRoom();
    if (credential === "") return { ...this.#open(""), source: null, fingerprint: null };
    const fingerprint = this.#context.fingerprint.quota(`passed ${credential}`).slice(0, 8);
    return { ...this.#open(credential), source: "caller", fingerprint };
  }

  #open(id: string): Pick<CredentialAccount, "quota" | "ready"> {
    const { ledger, clock, fingerprint, maxInFlight: all } = this.#context;
    // The origin is part of the key: a service that is pointed to another upstream has another quota there.
    const prefix = `${this.#serviceKey}\n${fingerprint.quota(`${this.#origin} ${id}`)}\n`;
    const service = this.#service;
    const quota = new CredentialQuota({
      rules: this.#rules,
      ledger,
      prefix,
      clock,
      onChange: () => this.#pooled?.changed(),
      get maxQueue() {
        return service().quota.maxQueue;
      },
      get maxInFlight() {
        const caps = [service().maxConcurrent, all].filter((cap) => cap > 0);
        return caps.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...caps);
      },
    });
    if (this.#drainsUntil !== undefined) quota.drain(this.#drainsUntil);
    return { quota, ready: this.#restore(quota, prefix) };
  }

  /** From before a restart, or from before the account was dropped. A ledger that fails holds back no request. */
  async #restore(quota: CredentialQuota, prefix: string): Promise<void> {
    const { ledger, clock } = this.#context;
    const now = clock.now();
    const latest = now + (this.#service().quota.maxHoldMs ?? this.#rules.longestHoldMs);
    const entries = await ledger.list(now, prefix).catch(() => []);
    const restored: (readonly [string, Account])[] = [];
    for (const { key, account } of entries) {
      const resetsAt = Math.min(account.resetsAt, latest);
      // Stored by a version without this limit, or before the limit was lowered.
      if (resetsAt < account.resetsAt && isHold(key)) await this.#shorten(key, { ...account, resetsAt }, now);
      restored.push([key, { ...account, resetsAt }]);
    }
    quota.restore(restored, clock.now());
  }

  async #shorten(key: string, account: Account, now: number): Promise<void> {
    const { ledger } = this.#context;
    await ledger.forget(key).catch(() => {});
    await ledger.settle(key, "", account, now).catch(() => {});
  }

  /** Drops an idle account, else the least recently used one without waiting requests: the ledger still has what it knows. */
  #makeRoom(): void {
    let oldest: string | undefined;
    for (const [credential, { quota }] of this.#passed) {
      if (quota.waiting > 0) continue;
      oldest ??= credential;
      if (!quota.isIdle) continue;
      oldest = credential;
      break;
    }
    if (oldest !== undefined) this.#passed.delete(oldest);
  }
}

/** `Authorization`, GitLab's `Private-Token`, Shopify's `X-Shopify-Access-Token`, `X-Goog-Api-Key`, `Apikey` … */
const CREDENTIAL_NAME = /^(?:authorization|cookie|.*(?:api-?key|access-key|auth-key|token|secret|auth))$/;

/** Different for each form or page. */
const NOT_A_CREDENTIAL = /(?:csrf|xsrf)/;

/** The holder in a header with a different signature each time: AWS, Digest, HTTP Signatures. */
const HOLDER = /\b(?:credential|keyid|username)="?([^",/\s]+)/i;

/**
 * The caller's own credential, when the gateway adds none. A value that changes with every request of one holder (a signature, an
 * idempotency key) is not part of it.
 * @param headers flat list of names and values, as sent to the upstream. @returns an empty string if there is none.
 */
export function passedCredential(headers: readonly string[]): string {
  let found = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (!CREDENTIAL_NAME.test(name) || NOT_A_CREDENTIAL.test(name)) continue;
    const value = headers[i + 1] as string;
    found += `${name}: ${HOLDER.exec(value)?.[1] ?? value}\n`;
  }
  return found;
}
