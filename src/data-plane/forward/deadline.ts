/**
 * The one timer of an exchange: time to the answer's headers, then silence inside a body.
 * Invariant: an upload has no total limit. Each of its chunks starts the clock anew, and a client that pauses inside it
 * is given the idle time, because that silence is not the upstream's.
 */

/** SPEC 3: `idleTimeoutMs` of a service that names none. */
export const DEFAULT_IDLE_MS = 300_000;

export interface DeadlineOwner {
  /** The request body is not complete and the upstream waits for more of it. */
  readonly isWaitingForClient: boolean;
  onExpire(expiry: Expiry): void;
}

export type Expiry = "headers" | "client-idle" | "body-idle";

/**
 * Activity only notes the time; the timer looks at it when it fires and sleeps on. So a chunk costs a clock reading,
 * and an exchange that ends in time costs one timer.
 */
export class Deadline {
  readonly #owner: DeadlineOwner;
  readonly #timeoutMs: number;
  readonly #idleMs: number;
  #timer: NodeJS.Timeout | undefined;
  /** When the running timer fires, on the clock of performance.now(). */
  #firesAt = 0;
  #touchedAt: number;
  #limitMs: number;
  #phase: Expiry = "headers";

  /**
   * @param now on the clock of performance.now().
   * @param timeoutMs to the answer's headers.
   * @param idleMs of silence inside a body, 0 for no limit.
   */
  constructor(owner: DeadlineOwner, now: number, timeoutMs: number, idleMs: number) {
    this.#owner = owner;
    this.#touchedAt = now;
    this.#timeoutMs = timeoutMs;
    this.#idleMs = idleMs;
    this.#limitMs = timeoutMs;
    this.#arm(now);
  }

  /** ms left to the answer's headers. */
  get remainingMs(): number {
    return this.#touchedAt + this.#timeoutMs - performance.now();
  }

  /** A chunk moved. */
  touch(): void {
    this.#touchedAt = performance.now();
    if (this.#phase === "client-idle") this.#enter("headers", this.#timeoutMs, this.#touchedAt);
  }

  /** The exchange waited for something else than its upstream. */
  extend(ms: number): void {
    this.#touchedAt += ms;
  }

  /** The headers are here: from now on only silence counts. @param idleMs 0 for no limit. */
  enterBody(now: number, idleMs: number): void {
    this.#touchedAt = now;
    this.#enter("body-idle", idleMs, now);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #enter(phase: Expiry, limitMs: number, now: number): void {
    this.#phase = phase;
    this.#limitMs = limitMs;
    if (limitMs === 0) this.stop();
    else if (this.#timer === undefined || this.#touchedAt + limitMs < this.#firesAt) this.#arm(now);
  }

  #arm(now: number): void {
    clearTimeout(this.#timer);
    this.#firesAt = this.#touchedAt + this.#limitMs;
    this.#timer = setTimeout(Deadline.#onTimer, Math.max(1, this.#firesAt - now), this);
  }

  static #onTimer(deadline: Deadline): void {
    deadline.#timer = undefined;
    const now = performance.now();
    // Timers may fire a fraction of a millisecond early.
    if (deadline.#touchedAt + deadline.#limitMs - now >= 1) return deadline.#arm(now);
    if (deadline.#phase === "headers" && deadline.#owner.isWaitingForClient) {
      if (deadline.#idleMs === 0 || deadline.#idleMs > deadline.#timeoutMs) {
        return deadline.#enter("client-idle", deadline.#idleMs, now);
      }
      deadline.#phase = "client-idle";
    }
    deadline.#owner.onExpire(deadline.#phase);
  }
}
