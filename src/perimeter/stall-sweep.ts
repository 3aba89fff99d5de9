/**
 * Finds the sockets with a peer that takes none of the bytes that wait for it: it stopped reading, or its cable was cut.
 * TCP does not probe while there are bytes to send, and retries for a quarter of an hour.
 * Invariant: one timer serves all sockets and a write costs nothing; a peer that took a byte since the last check has the
 * full time again.
 */
/** Checks within the limit: a socket ends at most one check late. */
const CHECKS = 10;

/** ms between two checks, at most. */
const LONGEST_INTERVAL_MS = 5_000;

export interface StallSweep {
  stop(): void;
}

/** A socket, or a stream of an HTTP/2 connection. */
export interface Written {
  readonly writableLength: number;
  /** Those that wait included. */
  readonly bytesWritten: number;
}

/** A socket with waiting bytes, as the last check found it. */
interface StalledSocket {
  readonly sentBytes: number;
  readonly queuedBytes: number;
  /** Checks without a change. Counted, not timed: time in which the process itself was suspended must not count. */
  checks: number;
}

/**
 * @param limitMs how long a socket may hold bytes of which none is taken.
 * @param end called with each socket that held them longer.
 */
export function createStallSweep<S extends Written>(
  limitMs: number,
  sockets: () => Iterable<S>,
  end: (socket: S) => void,
): StallSweep {
  const intervalMs = Math.max(1, Math.min(limitMs / CHECKS, LONGEST_INTERVAL_MS));
  const checksUntilEnd = Math.ceil(limitMs / intervalMs);
  let stalled = new Map<S, StalledSocket>();

  function sweep(): void {
    const stillStalled = new Map<S, StalledSocket>();
    for (const socket of sockets()) {
      if (socket.writableLength === 0) continue;
      const sentBytes = socket.bytesWritten - socket.writableLength;
      const queuedBytes = queueSizeOf(socket);
      const before = stalled.get(socket);
      if (before === undefined || before.sentBytes !== sentBytes || before.queuedBytes !== queuedBytes) {
        stillStalled.set(socket, { sentBytes, queuedBytes, checks: 0 });
      } else if (++before.checks < checksUntilEnd) stillStalled.set(socket, before);
      else end(socket);
    }
    stalled = stillStalled;
  }

  const timer = setInterval(sweep, intervalMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

interface Handle {
  readonly writeQueueSize?: number;
  /** Below a TLS handle, which first encrypts and then hands over whole records: the handle of the TCP socket. */
  readonly _parent?: Handle | null;
}

/** What the kernel has not taken of the current write; node:net reads the same value before it calls a socket idle. */
export function queueSizeOf(socket: Written): number {
  const { _handle: handle } = socket as { _handle?: Handle | null };
  return (handle?.writeQueueSize ?? 0) + (handle?._parent?.writeQueueSize ?? 0);
}
