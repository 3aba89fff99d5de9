/** How long a request may wait: `Prefer: wait=10` (RFC 7240 section 4.3), or else a setting of the service. */

/** The longest wait that a client may ask for, ms: the slowest upstreams' windows are no longer. */
const LONGEST_WAIT_MS = 3_600_000;

/** ms; undefined if absent, or not a whole number of seconds. The first one counts. */
export function preferredWaitMs(prefer: string | string[] | undefined): number | undefined {
  if (prefer === undefined) return undefined;
  const seconds = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,9})"?\s*(?:$|[,;])/i.exec(String(prefer))?.[1];
  return seconds === undefined ? undefined : Math.min(Number(seconds) * 1_000, LONGEST_WAIT_MS);
}

/**
 * How long a request may wait in one queue, ms. @param settingMs where its client asks for nothing.
 * @param earlierMs that it waited in another queue: what a client asks for limits the sum.
 */
export function maxWaitMs(prefer: string | string[] | undefined, settingMs: number, earlierMs: number): number {
  const preferredMs = preferredWaitMs(prefer);
  return preferredMs === undefined ? settingMs : Math.max(0, preferredMs - earlierMs);
}
