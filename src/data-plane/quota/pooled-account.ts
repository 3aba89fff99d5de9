/**
 * The quota of one credential as the queue of its pool uses it: whether a request may be sent with it now, and what is left of it.
 * Invariant: a request is sent only through the turnstile, so that requests of a pool and others never spend the same point.
 */
import { laneOf } from "./gates.ts";
import type { QuotaParts } from "./learn.ts";
import type { QuotaRoute } from "./rules.ts";
import type { QuotaRequest, Ticket } from "./ticket.ts";
import type { Turnstile } from "./turnstile.ts";

/** What a credential could still send now. Infinity for what no response has reported. */
export interface QuotaLeft {
  readonly requests: number;
  readonly tokens: number;
  /** When it may be used, ms since the epoch; 0 for now. */
  readonly opensAt: number;
}

export class PooledAccount {
  readonly #parts: QuotaParts;
  readonly #turnstile: Turnstile;
  readonly #now: () => number;
  #unreported = 0;
  /** The bucket's count of changes at that time. */
  #reportedAt = 0;

  constructor(parts: QuotaParts, turnstile: Turnstile, now: () => number) {
    this.#parts = parts;
    this.#turnstile = turnstile;
    this.#now = now;
  }

  /** When one more request may be sent, as far as is known without the ledger; ms since the epoch, infinity if that depends on a response. */
  freeAt({ route, method, path }: Pick<QuotaRequest, "route" | "method" | "path">): number {
    const bucket = this.#parts.buckets.peek(route);
    const costs = this.#parts.gates.costsOf(method, path);
    return Math.max(bucket.askAgainAt, this.#turnstile.freeAt(bucket, costs, this.#now()));
  }

  isFree(request: Pick<QuotaRequest, "route" | "method" | "path">): boolean {
    return this.freeAt(request) <= this.#now();
  }

  /** @param since when it began to wait. @returns a ticket, or a later time to ask again; both times in ms since the epoch. */
  take(request: QuotaRequest, since: number): Promise<Ticket | number> {
    const costs = this.#parts.gates.costsOf(request.method, request.path);
    return this.#turnstile.take(this.#parts.buckets.of(request.route, this.#now()), { request, costs, since });
  }

  /** The earliest known time for a request with `ahead` like it ahead of it, as it is known now; ms since the epoch. */
  estimates({ route, method, path }: QuotaRequest): (ahead: number) => number {
    const { buckets, gates } = this.#parts;
    const now = this.#now();
    const costs = gates.costsOf(method, path);
    const bucket = buckets.peek(route);
    return (ahead) => {
      const before = costs.map((cost) => cost * ahead);
      return Math.max(gates.estimate(costs, before, now), bucket.estimate(ahead, now));
    };
  }

  /** Equal for requests that wait for the same. */
  lineOf(request: QuotaRequest): string {
    return `${this.bucketOf(request.route)}\n${this.laneOf(request)}`;
  }

  laneOf({ method, path }: QuotaRequest): string {
    return laneOf(this.#parts.gates.costsOf(method, path));
  }

  bucketOf(route: QuotaRoute): string {
    return this.#parts.buckets.peek(route).key;
  }

  left(route: QuotaRoute): QuotaLeft {
    const { buckets, gates } = this.#parts;
    const bucket = buckets.peek(route);
    const now = this.#now();
    let requests = Number.POSITIVE_INFINITY;
    let tokens = Number.POSITIVE_INFINITY;
    let opensAt = Math.max(bucket.closedUntil, gates.closedUntil);
    for (const window of bucket.windows) {
      if (!window.isKnown(now)) continue;
      const remaining = window.remainingAt(now);
      if (window.name.includes("token")) tokens = Math.min(tokens, remaining);
      else requests = Math.min(requests, remaining);
      if (remaining === 0) opensAt = Math.max(opensAt, window.resetsAt);
    }
    if (opensAt <= now) return { requests, tokens, opensAt: 0 };
    return { requests: 0, tokens: 0, opensAt };
  }

  /** The same, less the requests that were sent without a reservation since the last report. */
  leftUnreported(route: QuotaRoute): QuotaLeft {
    const left = this.left(route);
    return { ...left, requests: Math.max(0, left.requests - this.#unreportedOf(route)) };
  }

  /** A request is sent without a reservation. */
  noteUnreported(route: QuotaRoute): void {
    this.#unreported = this.#unreportedOf(route) + 1;
  }

  #unreportedOf(route: QuotaRoute): number {
    const { changes } = this.#parts.buckets.peek(route);
    if (changes !== this.#reportedAt) this.#unreported = 0;
    this.#reportedAt = changes;
    return this.#unreported;
  }
}

/** Negative where the first has more left. Tokens count only among equals: how many a request takes is not known. */
export function compareLeft(one: QuotaLeft, other: QuotaLeft): number {
  const byRequests = difference(other.requests, one.requests);
  if (byRequests !== 0) return byRequests;
  return difference(other.tokens, one.tokens) || one.opensAt - other.opensAt;
}

/** Infinity minus infinity is not a number. */
const difference = (a: number, b: number) => (a === b ? 0 : a - b);
