/**
 * The one timer of an exchange: time to the answer's headers, then silence inside a body.
 * Invariant: an upload has no total limit. Each of its chunks starts the clock anew, and a client that pauses inside it
 * is given the idle time, because that silence is not the upstream's.
 */

export interface DeadlineOptions {
  /** ms to the answer's headers. */
  readonly timeoutMs: number;
  /** ms of silence inside a body; 0 for none. */
  readonly idleMs: number;
  /** The request body is not complete and the upstream waits for more of it. */
  readonly isWaitingForClient: () => boolean;
}

export type Expiry = "headers" | "client-idle" | "body-idle";

export class Deadline {
  readonly #options: DeadlineOptions;
  readonly #onExpire: (expiry: Expiry) => void;
  #timer: NodeJS.Timeout | undefined;
  #startedAt = performance.now();
  #phase: Expiry = "headers";

  constructor(options: DeadlineOptions, onExpire: (expiry: Expiry) => void) {
    this.#options = options;
    this.#onExpire = onExpire;
    this.#timer = setTimeout(this.#expire, options.timeoutMs);
  }

  /** ms left to the answer's headers. */
  get remainingMs(): number {
    return this.#startedAt + this.#options.timeoutMs - performance.now();
  }

  /** A chunk moved. */
  touch(): void {
    if (this.#phase === "client-idle") {
      this.#phase = "headers";
      this.#arm(this.#options.timeoutMs);
    } else {
      this.#timer?.refresh();
    }
    if (this.#phase === "headers") this.#startedAt = performance.now();
  }

  /** The headers are here: from now on only silence counts. @param idleMs 0 for no limit. */
  enterBody(idleMs: number): void {
    this.#phase = "body-idle";
    this.#arm(idleMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(ms: number): void {
    this.stop();
    if (ms > 0) this.#timer = setTimeout(this.#expire, ms);
  }

  readonly #expire = (): void => {
    const { idleMs, timeoutMs, isWaitingForClient } = this.#options;
    if (this.#phase === "headers" && isWaitingForClient()) {
      this.#phase = "client-idle";
      if (idleMs === 0) return this.stop();
      if (idleMs > timeoutMs) return this.#arm(idleMs - timeoutMs);
    }
    this.#onExpire(this.#phase);
  };
}
