/**
 * Signs assertions (RFC 7523): statements of the gateway about itself, for one request to a token endpoint.
 * Invariant: none is used twice, and none is valid for longer than a few minutes.
 */
import { randomUUID } from "node:crypto";
import type { SigningKey } from "../../config/signing-key.ts";

export interface Claims {
  readonly iss: string;
  readonly sub?: string | undefined;
  readonly aud?: string | undefined;
  readonly scope?: string | undefined;
  readonly jti?: string | undefined;
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly exp: number;
}

/** Seconds. A server that wants an assertion to be fresh accepts it, and so does one whose clock is a little behind. */
const LIFE_SECONDS = 120;

/** Seconds. Some servers refuse what begins a second after their own time. */
const EARLY_SECONDS = 10;

/** The claims that make an assertion one of its own, and short. */
export function freshClaims(): Pick<Claims, "jti" | "iat" | "exp"> {
  const now = Math.floor(Date.now() / 1_000);
  return { jti: randomUUID(), iat: now - EARLY_SECONDS, exp: now + LIFE_SECONDS };
}

/** @returns a JSON Web Token in the compact form (RFC 7515 section 3.1). */
export async function signAssertion({ key, algorithm, kid }: SigningKey, claims: Claims): Promise<string> {
  // Loaded when a service needs it.
  const { SignJWT } = await import("jose");
  const header = { alg: algorithm, typ: "JWT", ...(kid === undefined ? {} : { kid }) };
  return new SignJWT({ ...claims }).setProtectedHeader(header).sign(key);
}
