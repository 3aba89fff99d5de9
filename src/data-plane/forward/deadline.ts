/**
 * The one timer of an exchange: time to the answer's headers, then silence inside a body.
 * Invariant: an upload has no total limit. Each of its chunks starts the clock anew, and a client that pauses inside it
 * is given the idle time, because that silence is not the upstream's.
 */
import { performance } from "node:perf_hooks";
import type { PreparedService } from "../prepared-service.ts";
import type { Alarm, Alarms } from "./alarms.ts";

/** SPEC 3: `idleTimeoutMs` of a service that names none. */
export const DEFAULT_IDLE_MS = 300_000;

export interface DeadlineOwner {
  /** The request body is not complete and the upstream waits for more of it. */
  readonly isWaitingForClient: boolean;
  onExpire(expiry: Expiry): void;
}

export type Expiry = "headers" | "client-idle" | "body-idle";

/**
 * Activity only notes the time; the alarm looks at it when it goes off and sleeps on. So a chunk costs a clock reading, and an
 * exchange that ends in time costs no timer at all: it takes an alarm that is set already, and leaves it set.
 */
export class Deadline {
  readonly #owner: DeadlineOwner;
  readonly #alarms: Alarms;
  readonly #timeoutMs: number;
  readonly #idleMs: number;
  #alarm: Alarm | undefined;
  #touchedAt: number;
  #limitMs: number;
  #phase: Expiry = "headers";

  /** @param now on the clock of performance.now(): when its time begins. */
  constructor(owner: DeadlineOwner, { service, alarms }: Pick<PreparedService, "service" | "alarms">, now: number) {
    const { timeoutMs, idleTimeoutMs = DEFAULT_IDLE_MS } = service;
    this.#owner = owner;
    this.#alarms = alarms;
    this.#touchedAt = now;
    this.#timeoutMs = timeoutMs;
    this.#idleMs = idleTimeoutMs;
    this.#limitMs = timeoutMs;
    this.#alarm = alarms.take(this);
    this.#alarm.setFor(now + timeoutMs, now);
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

  /** It is over, and expires no more. */
  stop(): void {
    if (this.#alarm === undefined) return;
    this.#alarms.leave(this.#alarm);
    this.#alarm = undefined;
  }

  #enter(phase: Expiry, limitMs: number, now: number): void {
    this.#phase = phase;
    this.#limitMs = limitMs;
    if (limitMs > 0) this.#alarm?.setFor(this.#touchedAt + limitMs, now);
  }

  /** Called when its alarm goes off, which may be too early. */
  onAlarm(): void {
    if (this.#limitMs === 0) return;
    const now = performance.now();
    const due = this.#touchedAt + this.#limitMs;
    // Timers may fire a fraction of a millisecond early.
    if (due - now >= 1) return this.#alarm?.setFor(due, now);
    if (this.#phase === "headers" && this.#owner.isWaitingForClient) {
      if (this.#idleMs === 0 || this.#idleMs > this.#timeoutMs) {
        return this.#enter("client-idle", this.#idleMs, now);
      }
      this.#phase = "client-idle";
    }
    this.#owner.onExpire(this.#phase);
  }
}
