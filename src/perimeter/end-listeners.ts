/**
 * The end of a listener: it accepts no further connection, and those that it has end after their responses or are cut.
 * Invariant: it resolves only once every connection is closed.
 */
import type { Server } from "node:http";
import type { Connections } from "./connections.ts";
import type { OpenListener } from "./open-listeners.ts";

/** How often connections that have become idle are closed while draining, ms. */
const IDLE_SWEEP_MS = 20;

/** Resolves when the last connection has ended. @param parser its timers end too, where it has no listener of its own. */
export async function stopListeners(opened: readonly OpenListener[], parser: Server): Promise<void> {
  const servers = new Set([...opened.map(({ server }) => server), parser]);
  await Promise.all([...servers].map((server) => new Promise<void>((resolve) => server.close(() => resolve()))));
}

/** Cuts what is left after `timeoutMs`. @param closed from `stopListeners`. @returns the number of connections that were cut. */
export async function endListeners(
  closed: Promise<void>,
  connections: Connections,
  timeoutMs: number,
): Promise<number> {
  // Stopping closed the connections that were idle then; the busy ones become idle later and would stay open.
  const sweep = setInterval(() => connections.closeIdle(), IDLE_SWEEP_MS);
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<number>((resolve) => {
    timer = setTimeout(() => resolve(connections.count), timeoutMs);
  });
  const cut = await Promise.race([closed.then(() => 0), timeout]);
  clearTimeout(timer);
  clearInterval(sweep);
  connections.destroyAll();
  await closed;
  return cut;
}
