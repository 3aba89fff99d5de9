/**
 * Finds the moment to stop listening: when the operating system's accept queue is empty. Each client in that queue believes
 * that it is connected and may have sent a request. Closing the listener resets it, while a client that comes later is refused
 * and knows that nothing was done.
 */
import type { Server } from "node:net";
import { setImmediate as nextIteration } from "node:timers/promises";

/** Longest search, ms: under constant load there is no such moment. */
const SEARCH_MS = 500;

/** No client may have connected for this long, ms: a client that just got its response may connect again at once. */
const QUIET_MS = 5;

/** An event-loop iteration longer than this, ms, did some work: meanwhile a client may have connected. */
const IDLE_ITERATION_MS = 0.1;

/** Resolves in the iteration in which to close the listener: the caller must close it at once. */
export async function drainListener(server: Server): Promise<void> {
  const startedAt = performance.now();
  let connectedAt = startedAt;
  const onConnection = () => {
    connectedAt = performance.now();
  };
  server.on("connection", onConnection);
  let iteratedAt = startedAt;
  for (;;) {
    await nextIteration();
    const now = performance.now();
    const isQuiet = now - connectedAt > QUIET_MS && now - iteratedAt < IDLE_ITERATION_MS;
    if (isQuiet || now - startedAt > SEARCH_MS) break;
    iteratedAt = now;
  }
  server.off("connection", onConnection);
}
