/**
 * The moment to stop listening: when no client is in the operating system's queue, connected as it believes, and with a
 * request on the way. Closing the listener resets each of those, where one that comes later is refused, and knows that
 * nothing was done.
 */
import type { Server } from "node:net";
import { setImmediate as nextTurn } from "node:timers/promises";

/** Longest search, ms: under a load that never lets up there is no such moment. */
const SEARCH_MS = 500;

/** As long as this, ms, nobody must have come: who is being answered right now may come again at once. */
const QUIET_MS = 5;

/** A turn of the event loop in which anything was done takes longer than this, ms: meanwhile somebody may have come. */
const IDLE_TURN_MS = 0.1;

/** Resolves in the turn to close in: to be followed by that at once. */
export async function emptyQueue(server: Server): Promise<void> {
  const startedAt = performance.now();
  let lastAt = startedAt;
  const onConnection = () => {
    lastAt = performance.now();
  };
  server.on("connection", onConnection);
  let turnedAt = startedAt;
  for (;;) {
    await nextTurn();
    const now = performance.now();
    const isQuiet = now - lastAt > QUIET_MS && now - turnedAt < IDLE_TURN_MS;
    if (isQuiet || now - startedAt > SEARCH_MS) break;
    turnedAt = now;
  }
  server.off("connection", onConnection);
}
