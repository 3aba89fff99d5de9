/**
 * The one timer of an exchange: the time to the response's headers, then the silence inside a body.
 * Invariant: an upload has no total limit. Each of its chunks restarts the clock, and a client that pauses inside it gets the idle
 * time, because that silence is not the upstream's.
 */
import type { Service } from "../../config/schema.ts";

/** `idleTimeoutMs` of a service that does not set it. */
export const DEFAULT_IDLE_MS = 300_000;

export type Expiry = "headers" | "client-idle" | "body-idle";

/** Activity only notes the time; the timer checks it when it fires and is set again. So a chunk costs one clock reading. */
export class Deadline {
  readonly #onExpire: (expiry: Expiry) => void;
  readonly #timeoutMs: number;
  readonly #idleMs: number;
  #timer: NodeJS.Timeout | undefined;
  /** On the clock of performance.now(). */
  #firesAt = Number.POSITIVE_INFINITY;
  #touchedAt: number;
  #limitMs: number;
  #phase: Expiry = "headers";

  /**
   * @param startsAt on the clock of performance.now().
   * @param onExpire called once, unless it calls `waitForClient`.
   */
  constructor(
    { timeoutMs, idleTimeoutMs = DEFAULT_IDLE_MS }: Pick<Service, "timeoutMs" | "idleTimeoutMs">,
    startsAt: number,
    onExpire: (expiry: Expiry) => void,
  ) {
    this.#onExpire = onExpire;
    this.#touchedAt = startsAt;
    this.#timeoutMs = timeoutMs;
    this.#idleMs = idleTimeoutMs;
    this.#limitMs = timeoutMs;
    this.#setTimer(startsAt + timeoutMs, startsAt);
  }

  /** Milliseconds left to the response's headers. */
  get remainingMs(): number {
    return this.#touchedAt + this.#timeoutMs - performance.now();
  }

  /** A chunk moved. */
  touch(): void {
    this.#touchedAt = performance.now();
    if (this.#phase === "client-idle") this.#enter("headers", this.#timeoutMs, this.#touchedAt);
  }

  /** Does not count a wait that the upstream did not cause. */
  extend(ms: number): void {
    this.#touchedAt += ms;
  }

  /** The headers have arrived: from now on only silence counts. @param idleMs 0 for no limit. */
  enterBody(now: number, idleMs: number): void {
    this.#touchedAt = now;
    this.#enter("body-idle", idleMs, now);
  }

  /**
   * Gives a client that pauses inside its upload the idle time instead; the next chunk restarts the time to the headers.
   * @returns false where the idle time is over too: then the deadline has expired for the client.
   */
  waitForClient(): boolean {
    if (this.#idleMs > 0 && this.#idleMs <= this.#timeoutMs) return false;
    this.#enter("client-idle", this.#idleMs, performance.now());
    return true;
  }

  /** It expires no more. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#firesAt = Number.NEGATIVE_INFINITY;
  }

  #enter(phase: Expiry, limitMs: number, now: number): void {
    this.#phase = phase;
    this.#limitMs = limitMs;
    if (limitMs > 0) this.#setTimer(this.#touchedAt + limitMs, now);
  }

  /** A timer that fires earlier is left as it is: it is set again when it fires. */
  #setTimer(due: number, now: number): void {
    if (this.#firesAt <= due) return;
    clearTimeout(this.#timer);
    this.#firesAt = due;
    this.#timer = setTimeout(Deadline.#onTimer, Math.max(1, due - now), this);
    // The connection that the exchange waits for keeps the process alive.
    this.#timer.unref();
  }

  static #onTimer(deadline: Deadline): void {
    deadline.#firesAt = Number.POSITIVE_INFINITY;
    deadline.#check();
  }

  #check(): void {
    if (this.#limitMs === 0) return;
    const now = performance.now();
    const due = this.#touchedAt + this.#limitMs;
    // Timers may fire a fraction of a millisecond early.
    if (due - now >= 1) return this.#setTimer(due, now);
    this.#onExpire(this.#phase);
  }
}
