/** How long an idle connection stays open, according to the upstream. */

/** A connection is given up this long before the upstream would close it, ms. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

/** @param keepAlive the upstream's header: `timeout=5, max=100`. */
export function idleLimit(keepAlive: string, idleConnectionMs: number): number {
  const seconds = /(?:^|[,;\s])timeout\s*=\s*"?(\d+)/i.exec(keepAlive)?.[1];
  if (seconds === undefined) return idleConnectionMs;
  return Math.min(idleConnectionMs, Number(seconds) * 1_000 - KEEP_ALIVE_MARGIN_MS);
}
