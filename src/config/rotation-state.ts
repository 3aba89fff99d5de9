/** How far a credential has changed from its current secret to the next one. */

/** The name of the secret that takes the place of `token` after a rotation. It is in no template. */
export const NEXT = "next";

/** The change from one secret to another. Times are ms since the epoch. */
export interface RotationState {
  /** `ready`: none runs. `sharing`: a share of the requests has the next secret. `promoted`: all requests have it. */
  readonly stage: "ready" | "sharing" | "promoted" | "rolled-back";
  /** Of the requests, above 0 and at most 1; while it runs. */
  readonly share: number | undefined;
  /** The end of the sharing, while it runs. */
  readonly until: number | undefined;
  /** Requests with the next secret in the last rotation. */
  readonly requests: number;
  /** Of a rotation that was rolled back: completes "it was rolled back, because …". */
  readonly reason: string | undefined;
}

/** For operators. Times are RFC 3339. */
export interface DescribedRotation {
  readonly stage: RotationState["stage"];
  readonly share: number | null;
  readonly until: string | null;
  readonly requests: number;
  readonly reason: string | null;
}

export function describeRotation({ stage, share, until, requests, reason }: RotationState): DescribedRotation {
  return {
    stage,
    share: share ?? null,
    until: until === undefined ? null : new Date(until).toISOString(),
    requests,
    reason: reason ?? null,
  };
}
