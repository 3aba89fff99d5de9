/** Checks whether the keys that verify JSON Web Tokens can be fetched, if the gateway accepts tokens. */
import { plural } from "../plural.ts";
import { type Check, conclude, type Problem } from "./check.ts";

const FINDINGS = {
  none: {
    status: "fail",
    symptom: "503 TOKEN_KEYS_UNAVAILABLE with every token",
    fix: "Check JWT_JWKS_URL and that this machine can reach it. EGRESS_ALLOW_PRIVATE=false also forbids private addresses to it.",
  },
  stale: {
    status: "warn",
    symptom: "tokens that are signed with a new key are refused with 503 TOKEN_KEYS_UNAVAILABLE",
    fix: "Check that this machine can reach JWT_JWKS_URL. Until then the keys that were fetched last are used.",
  },
} as const;

export const tokens: Check = {
  id: "tokens",
  needs: "configuration",
  inspects: "the issuer's keys, if the gateway accepts JSON Web Tokens",
  findings: FINDINGS,
  async run({ tokens, config }) {
    if (tokens === undefined) return conclude([], "no JSON Web Tokens are accepted", {});
    const evidence = { issuer: config.tokens?.issuer, audiences: config.tokens?.audiences };
    if (tokens.jwks === undefined) return conclude([], "tokens are verified with JWT_SECRET", evidence);
    const { keys, unusable, fetchedAt, failure } = await tokens.jwks.check();
    const problems: Problem[] =
      failure === undefined
        ? []
        : [
            {
              finding: keys === 0 ? FINDINGS.none : FINDINGS.stale,
              message: `the keys of JWT_JWKS_URL could not be fetched: ${failure}`,
            },
          ];
    return conclude(problems, `the issuer has ${plural(keys, "key")}`, {
      ...evidence,
      keys,
      unusable,
      fetchedAt: fetchedAt === undefined ? null : new Date(fetchedAt).toISOString(),
    });
  },
};
