/** How the breaker of a service stands, for people and checks. */

export interface BreakerState {
  /** `half-open`: the next attempt, or the one that is under way, finds out whether the upstream is back. */
  readonly state: "closed" | "open" | "half-open";
  /** Attempts that failed, among `requests`. */
  readonly failures: number;
  /** Attempts within the window; while it is not closed, those that opened it and those that tried again. */
  readonly requests: number;
  /** s until one attempt is let through, rounded up; null unless it is open. */
  readonly retryAfter: number | null;
}

/** Whoever knows it. @see CircuitBreaker */
export interface DescribedBreaker {
  describe(): BreakerState;
}
