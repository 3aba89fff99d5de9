/**
 * Timers that outlive the exchange they were set for: nearly every one ends in time, and the next one can use its alarm.
 * Invariant: an alarm goes off no later than it was set for, and tells nobody who has left it.
 */

/** Alarms that nobody uses, and may still be set: more are let go. */
const SPARE_LIMIT = 1_024;

/** Whom an alarm tells. It may be too early: what was set before is not set back. */
export interface AlarmOwner {
  onAlarm(): void;
}

export class Alarm {
  owner: AlarmOwner | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** On the clock of performance.now(). */
  #goesOffAt = 0;

  /** @param due, now on the clock of performance.now(). */
  setFor(due: number, now: number): void {
    if (this.#timer !== undefined) {
      if (this.#goesOffAt <= due) return;
      clearTimeout(this.#timer);
    }
    this.#goesOffAt = due;
    this.#timer = setTimeout(Alarm.#onTimer, Math.max(1, due - now), this);
    // What it waits for keeps the process: a connection.
    this.#timer.unref();
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  static #onTimer(alarm: Alarm): void {
    alarm.#timer = undefined;
    alarm.owner?.onAlarm();
  }
}

/** The alarms of one service, whose exchanges take about as long at most. */
export class Alarms {
  readonly #spare: Alarm[] = [];

  take(owner: AlarmOwner): Alarm {
    const alarm = this.#spare.pop() ?? new Alarm();
    alarm.owner = owner;
    return alarm;
  }

  leave(alarm: Alarm): void {
    alarm.owner = undefined;
    if (this.#spare.length < SPARE_LIMIT) this.#spare.push(alarm);
    else alarm.clear();
  }
}
