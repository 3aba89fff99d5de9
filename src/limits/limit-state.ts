/** What is known of a limit at one moment. */

/** State of a limit; times in ms from now. */
export interface LimitState {
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
  /** What is counted together: the policy's name in the RateLimit fields. */
  readonly per: "service" | "caller" | "ip";
  /** The `RateLimit-Policy` member, the same for every response. */
  readonly policy: string;
  readonly isExceeded: boolean;
}

/** The caller of a request, as far as a limit distinguishes callers. */
export interface LimitSubject {
  readonly callerId: string;
  readonly address: string;
}
