/** The times that the chaos is held to. */

/** `timeoutMs` and `idleTimeoutMs` of the service that is hurt: longer than a busy machine stands still. Its neighbour has the defaults. */
export const DEADLINE_MS = 2_000;

/** From a request to the end of its answer. Later is a hang: some deadline of the gateway's did not fire. */
export const HUNG_MS = 12_000;

/** From a fault's end until requests are served again: the breaker's `openMs`, a few trials, and a slow machine. */
export const RECOVERY_MS = 15_000;

/** The breaker of the service that is hurt: one that opens and closes again within one fault. */
export const BREAKER = { failureRatio: 0.5, minRequests: 20, windowMs: 1_000, openMs: 500 };
