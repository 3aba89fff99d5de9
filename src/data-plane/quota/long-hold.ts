/**
 * A hold that ends far away: the upstream may have sent nonsense, or may have been another one for a moment.
 * Invariant: a hold of more than an hour lets one request a minute through, and only the response to such a trial shortens it.
 */
import type { QuotaReading } from "./read-quota.ts";

/** A hold that ends within this many ms is believed. */
const LONG_MS = 3_600_000;

/** From the last request to the trial, ms. */
const TRIAL_INTERVAL_MS = 60_000;

/**
 * When a request may be sent despite a hold; its end, where it is not long. Times are ms since the epoch.
 * @param sentAt when the last request was sent. @param ahead requests that go first.
 */
export function withTrials(end: number, sentAt: number, now: number, ahead = 0): number {
  if (!Number.isFinite(end) || end - now <= LONG_MS) return end;
  return Math.min(end, Math.max(now, sentAt + TRIAL_INTERVAL_MS) + ahead * TRIAL_INTERVAL_MS);
}

/** The reading with no time beyond `latest`, ms since the epoch. */
export function limitTimes(reading: QuotaReading, latest: number): QuotaReading {
  const { windows, retryAt } = reading;
  const isLate = (at: number | undefined) => at !== undefined && at > latest;
  if (!isLate(retryAt) && !windows.some(({ resetsAt }) => isLate(resetsAt))) return reading;
  return {
    ...reading,
    windows: windows.map((window) => (isLate(window.resetsAt) ? { ...window, resetsAt: latest } : window)),
    retryAt: isLate(retryAt) ? latest : retryAt,
  };
}
