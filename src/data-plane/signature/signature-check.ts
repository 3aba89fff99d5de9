/**
 * The check of one service's signatures, with what it remembers.
 * Invariant: signatures are compared in constant time, all of them; and without a secret no request is admitted.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Service } from "../../config/schema.ts";
import { signingKey } from "../../config/signing-secret.ts";
import type { VerifyDefinition } from "../../config/verify-schema.ts";
import { algorithmOf, type Claim, readClaim } from "./claim.ts";
import { ReplayMemory } from "./replay-memory.ts";
import { type SignatureFault, SignatureRefusals } from "./signature-fault.ts";

/** Characters of a signature that identify it in the memory: 128 bits. */
const ID_BYTES = 16;

export interface SignatureCheck {
  readonly serviceKey: string;
  readonly verify: VerifyDefinition;
  readonly replays: ReplayMemory;
  readonly refusals: SignatureRefusals;
  /** Limits by address are spent first: each of a stranger's requests counts. Others are spent by signed requests only. */
  readonly isLimitedFirst: boolean;
  /** What the headers alone decide. @param nowMs since the epoch. */
  claimOf(rawHeaders: readonly string[], nowMs: number): Claim | SignatureFault;
  /** The id of the signature that is that of the body; undefined where none is. */
  idOf(claim: Claim, body: Buffer): string | undefined;
  isStale(claim: Claim, nowMs: number): boolean;
}

/** Undefined for a service that checks no signatures. @param old whose memory is kept: a reload does not admit a signature again. */
export function createSignatureCheck(service: Service, old: SignatureCheck | undefined): SignatureCheck | undefined {
  const { access, verify, signingSecret, rateLimit, key } = service;
  if (access !== "signature" || verify === undefined) return undefined;
  const secret = signingSecret?.secrets[0]?.secret;
  const hmacKey = secret && signingKey(verify, secret.reveal());
  const algorithm = algorithmOf(verify);
  const isStale = ({ timestamp }: Claim, nowMs: number) =>
    timestamp !== undefined && Math.abs(Math.floor(nowMs / 1_000) - timestamp) > verify.toleranceSeconds;
  return {
    serviceKey: key,
    verify,
    replays: old?.replays ?? new ReplayMemory(),
    refusals: old?.refusals ?? new SignatureRefusals(),
    isLimitedFirst: rateLimit?.per === "ip",
    isStale,
    claimOf(rawHeaders, nowMs) {
      if (hmacKey === undefined) return "no secret";
      const claim = readClaim(verify, rawHeaders);
      return typeof claim !== "string" && isStale(claim, nowMs) ? "stale" : claim;
    },
    idOf({ before, signatures }, body) {
      if (hmacKey === undefined) return undefined;
      const expected = createHmac(algorithm, hmacKey).update(before, "latin1").update(body).digest();
      let isFound = false;
      for (const signature of signatures) isFound = timingSafeEqual(expected, signature) || isFound;
      return isFound ? expected.toString("latin1", 0, ID_BYTES) : undefined;
    },
  };
}
