/** `Prefer: wait=10` (RFC 7240 section 4.3): how long a caller would rather wait than be refused. Pure. */

/** Nobody's patience is longer than a window of the slowest upstreams, ms. */
const LONGEST_WAIT_MS = 3_600_000;

/** ms; undefined where it is not said, or is no whole number of seconds. The first one counts. */
export function preferredWaitMs(prefer: string | string[] | undefined): number | undefined {
  if (prefer === undefined) return undefined;
  const seconds = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])/i.exec(String(prefer))?.[1];
  return seconds === undefined ? undefined : Math.min(Number(seconds) * 1_000, LONGEST_WAIT_MS);
}
