/** Why a signed request is refused: for the log and for operators, never for the client. */
export const SIGNATURE_FAULTS = ["no secret", "missing", "malformed", "stale", "mismatch", "repeated"] as const;

export type SignatureFault = (typeof SIGNATURE_FAULTS)[number];

/** Completes "the signature was refused: …". */
export const FAULT_WORDS: Readonly<Record<SignatureFault, string>> = {
  "no secret": "the service's signing secret is missing",
  missing: "a header of the signature is missing",
  malformed: "a header of the signature is malformed, or there several times",
  stale: "the signed time is too far from the gateway's clock",
  mismatch: "no signature is that of the body with this secret",
  repeated: "a request with the same signature was delivered before, or is being delivered",
};

/** How often each fault was found, since the service was opened. */
export class SignatureRefusals {
  readonly counts = new Map<SignatureFault, { count: number; lastAt: number }>();

  /** @param now ms since the epoch. */
  note(fault: SignatureFault, now: number): void {
    const { count = 0 } = this.counts.get(fault) ?? {};
    this.counts.set(fault, { count: count + 1, lastAt: now });
  }
}
