/**
 * How long one connection is kept: its idle time, its age, and what the upstream said about them.
 * Invariant: it ends no connection that carries a request.
 */

/** An upstream that closes its connection after each response without announcing it has done so within this many ms. */
const SETTLED_MS = 10;

/** A connection is given up this long before the upstream would close it, ms. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

export interface LifetimeLimits {
  /** How long a connection stays open without a request, ms. */
  readonly idleConnectionMs: number;
  /** After this many ms a connection takes no new request. */
  readonly maxConnectionAgeMs: number;
}

export class Lifetime {
  readonly #limits: LifetimeLimits;
  readonly #onExpire: () => void;
  #idleMs: number;
  #openedAt = 0;
  #firstFreeAt = 0;
  /** Requests that the connection carried to their end. */
  #carried = 0;
  /** While it carries no request: when it is closed, on the clock of performance.now(). */
  #expiresAt = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;

  /** @param onExpire called when the connection has been idle, or open, for too long. */
  constructor(limits: LifetimeLimits, onExpire: () => void) {
    this.#limits = limits;
    this.#onExpire = onExpire;
    this.#idleMs = limits.idleConnectionMs;
  }

  /** The connection is open. */
  start(): void {
    this.#openedAt = performance.now();
  }

  /** The connection carries a request. */
  pause(): void {
    this.#expiresAt = Number.POSITIVE_INFINITY;
  }

  /** @param keepAlive the upstream's header: `timeout=5, max=100`. */
  noteKeepAlive(keepAlive: string): void {
    const seconds = /(?:^|[,;\s])timeout\s*=\s*"?(\d+)/i.exec(keepAlive)?.[1];
    const { idleConnectionMs } = this.#limits;
    this.#idleMs =
      seconds === undefined
        ? idleConnectionMs
        : Math.min(idleConnectionMs, Number(seconds) * 1_000 - KEEP_ALIVE_MARGIN_MS);
  }

  /** The connection carries no request any more. @returns false where it has to be closed. */
  resume(): boolean {
    const now = performance.now();
    if (this.#carried++ === 0) this.#firstFreeAt = now;
    this.#expiresAt = Math.min(now + this.#idleMs, this.#openedAt + this.#limits.maxConnectionAgeMs);
    if (now >= this.#expiresAt) return false;
    this.#timer ??= setTimeout(Lifetime.#onTimer, Math.max(1, this.#expiresAt - now), this).unref();
    return true;
  }

  /** After the current request the connection takes no other. @returns whether it carries none. */
  retire(): boolean {
    this.#openedAt = Number.NEGATIVE_INFINITY;
    return this.#expiresAt !== Number.POSITIVE_INFINITY;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  get hasCarried(): boolean {
    return this.#carried > 0;
  }

  /** The upstream keeps this connection open: it was reused before, or it stayed open for a while after its first response. */
  get isProven(): boolean {
    return this.#carried > 1 || performance.now() - this.#firstFreeAt >= SETTLED_MS;
  }

  /** It was idle for too long, or is too old. The timer may be late. @param now of performance.now(). */
  isExpired(now: number): boolean {
    return now >= this.#expiresAt;
  }

  /** It takes no new request, although it may still carry some. @param now of performance.now(). */
  isTooOld(now: number): boolean {
    return now >= this.#openedAt + this.#limits.maxConnectionAgeMs;
  }

  /** The timer is set once and not moved by each request: it is set again when it fires too early. */
  static #onTimer(lifetime: Lifetime): void {
    lifetime.#timer = undefined;
    // The connection carries a request, and sets the timer when it is free again.
    if (lifetime.#expiresAt === Number.POSITIVE_INFINITY) return;
    const leftMs = lifetime.#expiresAt - performance.now();
    if (leftMs < 1) return lifetime.#onExpire();
    lifetime.#timer = setTimeout(Lifetime.#onTimer, leftMs, lifetime).unref();
  }
}
