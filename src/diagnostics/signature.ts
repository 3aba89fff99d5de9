/** Checks the signing secret of each service with signed requests, and why requests were refused. */
import { identityOf } from "../config/credential-source.ts";
import type { SignatureFault } from "../data-plane/signature/signature-fault.ts";
import { plural } from "../plural.ts";
import { conclude, type Finding, type Problem, type ServiceCheck } from "./check.ts";

const FINDINGS = {
  noSecret: {
    status: "fail",
    symptom: "401 INVALID_SIGNATURE for every request",
    fix: "Set the variable or file that verify names to the sender's signing secret, and restart or reload. If the secret is locked, add it to REST_SECRETS, or add the service to the services file.",
  },
  mismatch: {
    status: "warn",
    symptom: "401 INVALID_SIGNATURE although the sender signs its requests",
    fix: "Compare the secret with the one that the sender shows for this endpoint: each endpoint has its own, and test and live differ. A proxy before the gateway must not change the body. Ignore this if strangers sent the requests.",
  },
  headers: {
    status: "warn",
    symptom: "401 INVALID_SIGNATURE because a header of the signature is missing or malformed",
    fix: "Compare verify.scheme with the sender. A sender that signs only with a secret sends no signature until the secret is set there.",
  },
  stale: {
    status: "warn",
    symptom: "401 INVALID_SIGNATURE because the signed time is too old or in the future",
    fix: "Check this machine's clock (check clock), and that nothing holds requests back. toleranceSeconds sets the limit.",
  },
  repeated: {
    status: "warn",
    symptom: "401 INVALID_SIGNATURE for a request that was delivered before",
    fix: "A sender signs a retry with a new time. A request with the same time is a copy: look at its client in the access log.",
  },
} as const;

const FINDING_OF: Readonly<Record<SignatureFault, Finding>> = {
  "no secret": FINDINGS.noSecret,
  missing: FINDINGS.headers,
  malformed: FINDINGS.headers,
  stale: FINDINGS.stale,
  mismatch: FINDINGS.mismatch,
  repeated: FINDINGS.repeated,
};

/** Older mistakes are probably fixed. */
const RECENT_MS = 3_600_000;

export const signature: ServiceCheck = {
  id: "signature",
  needs: "configuration",
  inspects:
    "the signing secret of each service with `access: signature`, and the signatures that were refused in the last hour",
  findings: FINDINGS,
  run({ service, signature: check }) {
    const { verify, signingSecret, key } = service;
    if (verify === undefined || signingSecret === undefined) return undefined;
    const hasSecret = identityOf(signingSecret) !== undefined;
    const recent = [...(check?.refusals.counts ?? [])].filter(([, { lastAt }]) => lastAt > Date.now() - RECENT_MS);
    const problems = recent
      .filter(([fault]) => fault !== "no secret")
      .map(([fault, { count }]): Problem => {
        const message = `${plural(count, "request")} to ${key} had a signature with the fault "${fault}"`;
        return { finding: FINDING_OF[fault], message };
      });
    if (!hasSecret) {
      const { source, withheld } = signingSecret;
      const why = withheld?.message ?? `${source} holds no secret`;
      problems.unshift({ finding: FINDINGS.noSecret, message: `${key} has no signing secret: ${why}` });
    }
    return conclude(problems, `requests to ${key} are signed (${verify.scheme})`, {
      scheme: verify.scheme,
      source: signingSecret.source,
      state: hasSecret ? "present" : "missing",
      refused: recent.map(([fault, { count, lastAt }]) => ({ fault, count, lastAt: new Date(lastAt).toISOString() })),
    });
  },
};
