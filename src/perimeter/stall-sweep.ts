/**
 * Finds the sockets whose other side takes nothing of what waits for it: a reader that stopped, or a peer behind a cut cable.
 * TCP probes neither while there is something to send, and goes on trying for a quarter of an hour.
 * Invariant: one timer for all sockets and nothing for a write; whoever took a byte since the last look has all of its time again.
 */
import type { Socket } from "node:net";

/** Looks in the time that is granted: the end comes late by one of them at most. */
const LOOKS = 10;

/** ms between two looks, at most. */
const LONGEST_INTERVAL_MS = 5_000;

export interface StallSweep {
  stop(): void;
}

/** What a socket had handed over at the last look. */
interface Held {
  readonly handedOver: number;
  readonly queued: number;
  /** How often nothing had changed. Counted, not timed: a process that stood still itself must not blame its peers. */
  looks: number;
}

/**
 * @param limitMs how long a socket may hold bytes of which none is taken.
 * @param end of one that held them longer.
 */
export function createStallSweep(
  limitMs: number,
  sockets: () => Iterable<Socket>,
  end: (socket: Socket) => void,
): StallSweep {
  const intervalMs = Math.max(1, Math.min(limitMs / LOOKS, LONGEST_INTERVAL_MS));
  const patience = Math.ceil(limitMs / intervalMs);
  let held = new Map<Socket, Held>();

  function sweep(): void {
    const holding = new Map<Socket, Held>();
    for (const socket of sockets()) {
      if (socket.writableLength === 0) continue;
      const handedOver = socket.bytesWritten - socket.writableLength;
      const queued = queueSizeOf(socket);
      const before = held.get(socket);
      if (before === undefined || before.handedOver !== handedOver || before.queued !== queued) {
        holding.set(socket, { handedOver, queued, looks: 0 });
      } else if (++before.looks < patience) holding.set(socket, before);
      else end(socket);
    }
    held = holding;
  }

  const timer = setInterval(sweep, intervalMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}

/** What the kernel has not taken of the write under way; node:net asks the same before it calls a socket idle. */
function queueSizeOf(socket: Socket): number {
  return (socket as { _handle?: { writeQueueSize?: number } | null })._handle?.writeQueueSize ?? 0;
}
