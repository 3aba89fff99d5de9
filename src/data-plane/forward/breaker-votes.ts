/**
 * Which callers a breaker's service works for: the latest attempt of each caller is its vote, for one window.
 * Invariant: a caller has one vote, however many requests it sends; and the number of votes in memory is bounded.
 */

/** Callers with a vote; the one that has voted first is dropped to make room. */
const VOTES_LIMIT = 1_000;

interface Vote {
  isFailing: boolean;
  at: number;
}

export class BreakerVotes {
  readonly #windowMs: number;
  readonly #votes = new Map<string, Vote>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** Callers with a vote. */
  get size(): number {
    return this.#votes.size;
  }

  /** @param now monotonic, ms. */
  cast(voter: string, isFailing: boolean, now: number): void {
    const vote = this.#votes.get(voter);
    if (vote !== undefined) {
      vote.isFailing = isFailing;
      vote.at = now;
      return;
    }
    if (this.#votes.size >= VOTES_LIMIT) this.#makeRoom(now);
    this.#votes.set(voter, { isFailing, at: now });
  }

  /** More than this share of the callers fail, or all of them; also where there are no votes. */
  isMajority(share: number, now: number): boolean {
    let all = 0;
    let failing = 0;
    for (const { isFailing } of this.#current(now)) {
      all++;
      if (isFailing) failing++;
    }
    return failing === all || failing > share * all;
  }

  /** Undefined where several fail, or there are no votes. */
  onlyFailing(now: number): string | undefined {
    let only: string | undefined;
    for (const [voter, { isFailing, at }] of this.#votes) {
      if (!isFailing || at + this.#windowMs <= now) continue;
      if (only !== undefined) return undefined;
      only = voter;
    }
    return only;
  }

  *#current(now: number): Generator<Vote> {
    for (const vote of this.#votes.values()) if (vote.at + this.#windowMs > now) yield vote;
  }

  #makeRoom(now: number): void {
    for (const [voter, { at }] of this.#votes) if (at + this.#windowMs <= now) this.#votes.delete(voter);
    if (this.#votes.size < VOTES_LIMIT) return;
    for (const voter of this.#votes.keys()) return void this.#votes.delete(voter);
  }
}
