/** How often an upstream refused the credential that the gateway put on a request: a token that has expired is found here. */

/** The log says it again after this many ms, not with each request. */
const SAY_AGAIN_MS = 3_600_000;

export class CredentialRefusals {
  /** Since when the credential is in use, ms since the epoch. */
  readonly since = Date.now();
  count = 0;
  /** Answers below 400 since the last refusal. */
  accepted = 0;
  /** 401 or 403; 0 while there was none. */
  lastStatus = 0;
  /** ms since the epoch. */
  lastAt = 0;
  #saidAt = Number.NEGATIVE_INFINITY;

  /** True when it is time to say so in the log. @param now ms since the epoch. */
  note(status: number, now: number): boolean {
    this.count += 1;
    this.accepted = 0;
    this.lastStatus = status;
    this.lastAt = now;
    if (now - this.#saidAt < SAY_AGAIN_MS) return false;
    this.#saidAt = now;
    return true;
  }
}
