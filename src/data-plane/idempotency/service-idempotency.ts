/**
 * The idempotency of one service: its settings, the claims of all services, and what it did.
 * Invariant: a claim's key is a keyed hash of the service, the caller and the client's key, so that no caller reaches another's claim,
 * and no key of a client is stored.
 */
import { performance } from "node:perf_hooks";
import type { IdempotencySettings } from "../../config/idempotency-settings.ts";
import type { Claims } from "../../stores/claims.ts";
import type { Exchange } from "../exchange.ts";

export interface IdempotencyContext {
  readonly claims: Claims;
  /** HMAC-SHA256 with the key of the installation. */
  readonly sign: (text: string) => string;
  /** Keys of claims whose requests this process is sending. */
  readonly running: Set<string>;
  /** Bytes of responses that are kept while they arrive. */
  readonly arriving: { bytes: number };
}

export function createIdempotencyContext(claims: Claims, sign: (text: string) => string): IdempotencyContext {
  return { claims, sign, running: new Set(), arriving: { bytes: 0 } };
}

export type IdempotencyState = NonNullable<Exchange["idempotency"]>;

/** What status and metrics show. */
export interface DescribedIdempotency {
  describe(): {
    readonly requests: Readonly<Record<IdempotencyState, number>>;
    /** That the gateway remembers, of all services. */
    readonly keys: number;
  };
}

export class ServiceIdempotency implements DescribedIdempotency {
  readonly settings: IdempotencySettings;
  readonly context: IdempotencyContext;
  readonly #serviceKey: string;
  readonly #counts = { first: 0, replayed: 0, conflict: 0, mismatch: 0 };

  constructor(serviceKey: string, settings: IdempotencySettings, context: IdempotencyContext) {
    this.#serviceKey = serviceKey;
    this.settings = settings;
    this.context = context;
  }

  /** @param key as the client sent it. */
  claimKeyOf(callerId: string, key: string): string {
    return this.context.sign(`claim\n${this.#serviceKey}\n${callerId}\n${key}`);
  }

  /** ms since the epoch. Steps of the system's clock do not end a lease, nor extend it. */
  now(): number {
    return performance.timeOrigin + performance.now();
  }

  /** When a claim ends that is made or completed now. */
  end(): number {
    return this.now() + this.settings.ttlSeconds * 1_000;
  }

  count(state: IdempotencyState): void {
    this.#counts[state]++;
  }

  describe() {
    // Reading the usage also drops what is over, while no request does.
    return { requests: { ...this.#counts }, keys: this.context.claims.usage(this.now()).claims };
  }
}
