/**
 * The verifier of tokens of one configuration.
 * Invariant: a reload with the same settings keeps it, and with it the issuer's keys: an issuer that cannot be reached must not refuse
 * every caller after a reload.
 */
import { createTokenVerifier, type TokenVerifier } from "../callers/token-verifier.ts";
import { describeUse, proxyUseOf } from "../config/egress-proxy.ts";
import type { Config } from "../config/load-config.ts";
import { fetchJson } from "../data-plane/forward/fetch-json.ts";
import type { ProcessParts } from "./process-parts.ts";

export interface TokenSource {
  /** Compares the settings of two configurations. */
  readonly settings: string;
  readonly verifier: TokenVerifier;
}

/** @returns undefined if the gateway accepts no tokens. */
export function openTokens(
  { tokens, settings }: Config,
  { ownListeners, logger, tunnels }: ProcessParts,
  previous: TokenSource | undefined,
): TokenSource | undefined {
  if (tokens === undefined) return undefined;
  const { source } = tokens;
  const secret = source.kind === "secret" ? source.secret.reveal() : undefined;
  const { STRICT_TLS, EGRESS_ALLOW_PRIVATE } = settings;
  const proxyUse = proxyUseOf(undefined, false, settings);
  const compared = JSON.stringify([tokens, secret, STRICT_TLS, EGRESS_ALLOW_PRIVATE, describeUse(proxyUse)]);
  if (previous?.settings === compared) return previous;
  const egress = { allowsPrivate: EGRESS_ALLOW_PRIVATE ?? true, ownListeners };
  const verifier = createTokenVerifier({
    settings: tokens,
    fetchJson: (url) => fetchJson(url, { isTlsStrict: STRICT_TLS, egress, proxyUse }),
    report(failure) {
      if (failure === undefined) logger.info({}, "the keys of JWT_JWKS_URL are available again");
      else logger.warn({}, `the keys of JWT_JWKS_URL could not be fetched: ${failure}`);
    },
    onEnd: () => tunnels.closeOver(),
  });
  return { settings: compared, verifier };
}
