/** Counts how often an upstream refused the gateway's credential, which shows an expired token. */
import type { CredentialLife } from "./credential-life.ts";

/** The log reports a refusal at most once in this time, ms. */
const REPORT_EVERY_MS = 3_600_000;

export class CredentialRefusals {
  /** The start of the credential's use, ms since the epoch. */
  readonly since = Date.now();
  count = 0;
  /** Responses below 400 since the last refusal. */
  accepted = 0;
  /** 401 or 403; 0 while there was none. */
  lastStatus = 0;
  /** ms since the epoch. */
  lastAt = 0;
  /** Of the same credential; undefined where nothing is injected. */
  life: CredentialLife | undefined;
  #reportedAt = Number.NEGATIVE_INFINITY;

  /** @returns whether to report the refusal in the log. @param now ms since the epoch. */
  note(status: number, now: number): boolean {
    this.count += 1;
    this.accepted = 0;
    this.lastStatus = status;
    this.lastAt = now;
    if (now - this.#reportedAt < REPORT_EVERY_MS) return false;
    this.#reportedAt = now;
    return true;
  }
}
