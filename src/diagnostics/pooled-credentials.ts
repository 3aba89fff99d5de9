/** The findings about single credentials of a pool, which works as long as one of them does. */
import type { CredentialSource } from "../config/credential-source.ts";
import type { PooledState } from "../config/pooled-state.ts";
import type { Problem } from "./check.ts";

export const POOL_FINDINGS = {
  pooledMissing: {
    status: "warn",
    symptom: "a pool has fewer credentials than its list",
    fix: "Set the variable or file of evidence.of[].source whose state is missing, and reload. The other credentials are used meanwhile.",
  },
  pooledResting: {
    status: "warn",
    symptom: "401 from the upstream for one credential of a pool",
    fix: "The credential of evidence.of[].source whose state is resting is expired, revoked or of the wrong kind, or a caller sent a request that the upstream refuses for everyone. The others are used until restsUntil.",
  },
  pooledUnavailable: {
    status: "warn",
    symptom: "a credential of a pool cannot be obtained",
    fix: "Check the program or the token endpoint of evidence.of[].source whose state is unavailable. The other credentials are used meanwhile.",
  },
  pooledTwin: {
    status: "warn",
    symptom: "two credentials of a pool are the same",
    fix: "Put another secret into the source of evidence.of[].source whose state is twin, or remove that credential: it adds no quota.",
  },
} as const;

const FINDING_OF: Readonly<Record<Exclude<PooledState["state"], "ready">, keyof typeof POOL_FINDINGS>> = {
  missing: "pooledMissing",
  resting: "pooledResting",
  unavailable: "pooledUnavailable",
  twin: "pooledTwin",
};

const WHAT: Readonly<Record<Exclude<PooledState["state"], "ready">, string>> = {
  missing: "is not set",
  resting: "was refused by the upstream with 401, and rests",
  unavailable: "cannot be obtained now",
  twin: "has the secret of an earlier one",
};

export function pooledProblems({ of = [] }: CredentialSource, key: string): Problem[] {
  return of.flatMap(({ source, state }, index) => {
    if (state === "ready") return [];
    const message = `the credential of[${index}] of ${key}, ${source}, ${WHAT[state]}`;
    return [{ finding: POOL_FINDINGS[FINDING_OF[state]], message }];
  });
}
