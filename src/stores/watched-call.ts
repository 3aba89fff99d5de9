/**
 * Limits how long a request waits for a call of the shared store, and notices slow ones.
 * Invariant: the time for which this process was busy does not count: a call is late only if its reply has not arrived after the event
 * loop has read its sockets.
 */
import { StoreUnavailable } from "./store-fault.ts";

/** A call that takes longer is slow, ms. */
export const SLOW_MS = 50;

/** A call that takes longer has failed, ms. */
export const CALL_TIMEOUT_MS = 250;

/** A timer that is later than this shows that the process was busy, ms. */
const BUSY_MS = 10;

/** However busy the process is, ms. */
const LONGEST_MS = 2_000;

export interface CallEnd {
  readonly reply: unknown;
  readonly isSlow: boolean;
}

/** A pending call. */
export class WatchedCall {
  readonly ended: Promise<CallEnd>;
  /** Ends the wait. The reply is ignored. */
  abandon: (reason: StoreUnavailable) => void = () => {};

  constructor(reply: Promise<unknown>, timeoutMs = CALL_TIMEOUT_MS) {
    this.ended = new Promise((resolve, reject) => {
      const startedAt = performance.now();
      let isSettled = false;
      let isSlow = false;
      let timer: NodeJS.Timeout;
      const settle = (run: () => void) => {
        if (isSettled) return;
        isSettled = true;
        clearTimeout(timer);
        run();
      };
      const wait = (ms: number) => {
        const dueAt = performance.now() + ms;
        timer = setTimeout(() => {
          const wasBusy = performance.now() - dueAt > BUSY_MS;
          // After the sockets were read.
          setImmediate(() => {
            if (isSettled) return;
            const isLate = performance.now() - startedAt > LONGEST_MS || (isSlow && !wasBusy);
            if (isLate) return this.abandon(new StoreUnavailable("unresponsive"));
            if (wasBusy) return wait(ms);
            isSlow = true;
            wait(timeoutMs - SLOW_MS);
          });
        }, ms).unref();
      };
      this.abandon = (reason) => settle(() => reject(reason));
      reply.then(
        (value) => settle(() => resolve({ reply: value, isSlow })),
        (error) => settle(() => reject(error)),
      );
      wait(SLOW_MS);
    });
  }
}
