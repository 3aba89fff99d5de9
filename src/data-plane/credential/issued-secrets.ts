/**
 * What the gateway does with each secret that an endpoint issues, before it is used or stored.
 * Invariant: none of them is a key of the gateway, and every mask knows it.
 */
import type { SecretMask } from "../../telemetry/redact.ts";
import { TokenFailure } from "./access-token.ts";

export interface IssuedSecretsContext {
  /** An endpoint must not issue a key of the gateway. */
  readonly isOwnKey: (text: string) => boolean;
  /** @param owner keeps only these: all that may come back now. */
  readonly keepSecrets: (owner: object, secrets: readonly string[]) => void;
  /** Replaces the secrets in a text that is shown. */
  readonly mask: SecretMask;
}

/** @throws TokenFailure */
export type AdmitSecrets = (owner: object, issued: readonly string[], before: readonly string[]) => void;

/** Characters. A shorter text occurs by chance, so that masking it would damage other texts: an endpoint must not choose those. */
const SHORTEST_MASKED = 8;

export function createAdmitSecrets({ isOwnKey, keepSecrets }: IssuedSecretsContext): AdmitSecrets {
  return (owner, issued, before) => {
    if (issued.some(isOwnKey)) throw new TokenFailure("issued a key of the gateway");
    const all = [...issued, ...before].filter(({ length }) => length >= SHORTEST_MASKED);
    keepSecrets(owner, all);
  };
}

/** A code or a scope of a response may repeat a secret. */
export function maskFailure(error: unknown, mask: SecretMask): unknown {
  if (!(error instanceof TokenFailure)) return error;
  const { message, retryAfterMs, detail } = error;
  return new TokenFailure(mask(message), { retryAfterMs, ...(detail === undefined ? {} : { detail: mask(detail) }) });
}
