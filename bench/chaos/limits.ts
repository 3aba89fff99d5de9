/** The deadlines of the chaos test. */

/** `timeoutMs` and `idleTimeoutMs` of the affected service: longer than a busy machine may stall. Its neighbour has the defaults. */
export const DEADLINE_MS = 2_000;

/** From a request to the end of its response. A later end is a hang: a deadline of the gateway did not fire. */
export const HUNG_MS = 12_000;

/** From a fault's end until requests are served again: the breaker's `openMs`, a few trials, and room for a slow machine. */
export const RECOVERY_MS = 15_000;

/** The breaker of the affected service: it can open and close again within one fault. */
export const BREAKER = { failureRatio: 0.5, minRequests: 20, windowMs: 1_000, openMs: 500 };
