/** Checks whether the upstream accepts the credential, and whether it is the same as on disk. */
import {
  type CredentialSource,
  describeOnlyCommand,
  describeSecrets,
  identityOf,
  nameMissing,
} from "../config/credential-source.ts";
import { credentialState } from "../config/credentials.ts";
import { describePool } from "../config/pooled-state.ts";
import { describeRotation } from "../config/rotation-state.ts";
import type { Service } from "../config/schema.ts";
import { FAULT_TEXTS } from "../config/secret-form.ts";
import { baseUrlsOf } from "../config/service-secrets.ts";
import { describeToken } from "../config/token-state.ts";
import { plural } from "../plural.ts";
import { secretsInBaseUrl } from "../telemetry/redact.ts";
import { secretsAwaitingReload } from "./awaiting-reload.ts";
import {
  conclude,
  type DiagnosedService,
  type DiagnosticsContext,
  isInUse,
  type Problem,
  type ServiceCheck,
} from "./check.ts";
import { POOL_FINDINGS, pooledProblems } from "./pooled-credentials.ts";

const FINDINGS = {
  missing: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING",
    fix: "Set the variable or file in evidence.source and reload, or set auth.required to false.",
  },
  login: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING",
    fix: "Run byteproxy login <service> in the folder of the gateway. A change of the base URLs, tokenUrl or the client ends the login before.",
  },
  withheld: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING although the secret is set",
    fix: "The secret is bound to another origin or place. Add it to REST_SECRETS as described in the warning of the check config.",
  },
  commandFails: {
    status: "fail",
    symptom: "502 UPSTREAM_CREDENTIAL_UNAVAILABLE",
    fix: "Run the command of evidence.source as the gateway's user, in its folder and without a terminal. It must print the secret alone and end within 10 seconds.",
  },
  commandFailsLately: {
    status: "warn",
    symptom: "the command of a credential fails, and its last secret is still used",
    fix: "Run the command of evidence.source as the gateway's user. When the secret is ten times as old as its TTL, requests get 502.",
  },
  tokenFails: {
    status: "fail",
    symptom: "502 UPSTREAM_CREDENTIAL_UNAVAILABLE",
    fix: "Check tokenUrl, the client and its secret or key, and scope; for type github-app appId, the private key and the installation. The log has the reason of a failed connection. After a fix of the client at the provider, POST /manage/services/<key>/credential/refresh.",
  },
  tokenFailsLately: {
    status: "warn",
    symptom: "the token endpoint fails, and the last token is still used",
    fix: "Check the token endpoint before evidence.token.expiresAt: then requests get 502.",
  },
  promoted: {
    status: "warn",
    symptom: "a rotation is not finished",
    fix: "Put the secret of evidence.rotation.source into evidence.source and reload. Then revoke the secret before, and remove the next one.",
  },
  rolledBack: {
    status: "warn",
    symptom: "a rotation was rolled back",
    fix: "Check the next secret at its provider: its account, its permissions and whether it is complete. Then start the rotation again.",
  },
  optional: {
    status: "warn",
    symptom: "requests are sent without a credential",
    fix: "Set the variable or file in evidence.source. Ignore this if the upstream needs no credential.",
  },
  refused: {
    status: "fail",
    symptom: "401 or 403 from the upstream",
    fix: "The credential is expired, revoked, of the wrong kind, or lacks a permission. Create a new one and set it in evidence.source.",
  },
  refusedLately: {
    status: "warn",
    symptom: "401 or 403 from the upstream to some requests",
    fix: "The upstream accepts the credential, but not for all requests. Give it the missing permissions.",
  },
  scheme: {
    status: "warn",
    symptom: "the secret was set together with its scheme",
    fix: "Remove the scheme (Bearer, Bot, token or Basic) from the variable or file in evidence.source: the gateway adds it.",
  },
  quoted: {
    status: "warn",
    symptom: "401 from the upstream, because quotes are sent as a part of the secret",
    fix: "Remove the quotes from the variable or file in evidence.source: docker --env-file and Kubernetes do not remove them.",
  },
  short: {
    status: "warn",
    symptom: "a secret that the upstream sends back in a header, or in a body despite `scrubBodies`, is not masked",
    fix: "Use a secret of at least 8 bytes: a shorter text occurs by chance, so the gateway does not search for it.",
  },
  inBaseUrl: {
    status: "warn",
    symptom: "a secret is in baseUrl, where no variable or file can hold it",
    fix: "Keep the services file private, and create a new secret if others have read it. The gateway masks the secret in the log and in its responses, and shows callers only the origin of baseUrl.",
  },
  ...POOL_FINDINGS,
  stale: {
    status: "warn",
    symptom: "a new token has no effect",
    fix: "POST /manage/reload reads the env files again. A variable of the process environment needs a restart.",
  },
} as const;

/** Older refusals are probably fixed. */
const RECENT_MS = 3_600_000;

/** Bytes; as in the search of response headers. */
const SHORTEST_MASKED_SECRET = 8;

export const credential: ServiceCheck = {
  id: "credential",
  needs: "configuration",
  inspects:
    "the credential of each service in use: whether it is set, is the same as on disk, and is accepted by the upstream",
  findings: FINDINGS,
  async run(subject, context, probes) {
    const { service, credentialRefusals: refusals } = subject;
    const { auth, key } = service;
    const misplaced = secretsInBaseUrls(service);
    if (auth === undefined) return misplaced.length === 0 ? undefined : conclude(misplaced, "", { type: null });
    const outcome = await probes.of(key);
    // After the probe, which may have run a command.
    const source = subject.service.credential;
    const command = describeOnlyCommand(source);
    const secret = identityOf(source);
    const secrets = describeSecrets(source, context.fingerprint.credential);
    const token = describeToken(source?.token);
    const evidence = {
      type: auth.type,
      source: source?.source ?? null,
      fingerprint: secret === undefined ? null : context.fingerprint.credential(secret),
      ...(secrets === undefined ? {} : { secrets }),
      ...(command === undefined ? {} : { command }),
      ...(token === undefined ? {} : { token }),
      ...(source?.of === undefined ? {} : { of: describePool(source.of) }),
      ...rotationEvidence(source, context),
      loadedAt: secret === undefined ? null : new Date(refusals.since).toISOString(),
      upstreamSays: outcome?.credential ?? "unknown",
      refused:
        refusals.count === 0
          ? null
          : { count: refusals.count, lastStatus: refusals.lastStatus, lastAt: new Date(refusals.lastAt).toISOString() },
    };
    const changes = await secretsAwaitingReload(subject, context);
    const stale = changes.map((message) => ({ finding: FINDINGS.stale, message }));
    if (credentialState(subject.service) === "pending") {
      return conclude(misplaced, "a command prints the credential, and has not run yet", evidence);
    }
    if (secret === undefined) {
      // A service that is not in use needs no credential until the next reload.
      const found = isInUse(service) ? [missing(subject, stale.length > 0), ...stale] : stale;
      return conclude(found, "the service is not in use", evidence);
    }
    const problems: Problem[] = [...misplaced];
    problems.push(...failuresOf(source, key), ...faultsOf(subject), ...unfinished(source, key));
    const isAccepted = outcome?.credential === "accepted" || refusals.accepted > 0;
    if (outcome?.credential === "refused" && !isAccepted) {
      problems.push({
        finding: FINDINGS.refused,
        message: `${key} responds with ${outcome.responseStatus} to its credential`,
      });
    } else if (refusals.count > 0 && refusals.lastAt > Date.now() - RECENT_MS) {
      const message = `${key} refused its credential ${plural(refusals.count, "time")}, last with ${refusals.lastStatus}`;
      problems.push({ finding: isAccepted ? FINDINGS.refusedLately : FINDINGS.refused, message });
    }
    problems.push(...stale);
    const okSummary =
      outcome?.credential === "accepted"
        ? "the credential is set, and the upstream accepts it"
        : "the credential is set";
    return conclude(problems, okSummary, evidence);
  },
};

/** Of each command whose last run failed, and of the token endpoint. */
function failuresOf(source: CredentialSource | undefined, key: string): Problem[] {
  if (source?.of !== undefined) return pooledProblems(source, key);
  const token = source?.token;
  if (token?.failure !== undefined) {
    // A token without a known end may be in use, too.
    const isUsed = token.renewedAt !== undefined && (token.expiresAt === undefined || token.expiresAt > Date.now());
    const finding = isUsed ? FINDINGS.tokenFailsLately : FINDINGS.tokenFails;
    return [{ finding, message: `the token endpoint of ${key} ${token.failure}` }];
  }
  return (source?.secrets ?? []).flatMap(({ run, secret, source: named }) => {
    if (run?.failure === undefined) return [];
    const finding = secret === undefined ? FINDINGS.commandFails : FINDINGS.commandFailsLately;
    return [{ finding, message: `${named}, which prints a secret of ${key}, ${run.failure}` }];
  });
}

function rotationEvidence(source: CredentialSource | undefined, { fingerprint }: DiagnosticsContext) {
  const { rotation, next } = source ?? {};
  if (rotation === undefined || next?.secret === undefined) return {};
  const shown = fingerprint.credential(next.secret.reveal());
  return { rotation: { ...describeRotation(rotation), source: next.source, fingerprint: shown } };
}

/** A rotation that the operator has to do something about. */
function unfinished(source: CredentialSource | undefined, key: string): Problem[] {
  const { rotation, next } = source ?? {};
  if (rotation?.stage === "promoted") {
    const message = `${key} uses the secret of ${next?.source} for all requests, and ${source?.source} still holds the one before`;
    return [{ finding: FINDINGS.promoted, message }];
  }
  if (rotation?.stage !== "rolled-back") return [];
  return [
    { finding: FINDINGS.rolledBack, message: `the rotation of ${key} was rolled back, because ${rotation.reason}` },
  ];
}

/** Of each secret: how it is written, and whether masks can search for it. */
function faultsOf({ service: { key, auth, credential: source } }: DiagnosedService): Problem[] {
  const all = source?.secrets ?? [];
  return all.flatMap(({ name, secret, faults = [] }) => {
    const named = all.length === 1 ? `the secret of ${key}` : `the secret ${name} of ${key}`;
    const isShort =
      !(auth?.type === "basic" && name === "username") &&
      secret !== undefined &&
      Buffer.byteLength(secret.reveal()) < SHORTEST_MASKED_SECRET;
    return [
      ...faults.map((fault) => ({ finding: FINDINGS[fault], message: `${named} ${FAULT_TEXTS[fault]}` })),
      ...(isShort ? [{ finding: FINDINGS.short, message: `${named} has fewer than 8 bytes` }] : []),
    ];
  });
}

function secretsInBaseUrls(service: Service): Problem[] {
  return baseUrlsOf(service)
    .filter(({ url }) => secretsInBaseUrl(url).length > 0)
    .map(({ path }) => ({
      finding: FINDINGS.inBaseUrl,
      message: `${path.join(".")} of ${service.key} seems to contain a secret`,
    }));
}

function missing({ service: { key, auth, credential: source } }: DiagnosedService, isOnDisk: boolean): Problem {
  if (source?.withheld !== undefined) return { finding: FINDINGS.withheld, message: source.withheld.message };
  const [failure] = source?.of === undefined ? failuresOf(source, key) : [];
  if (failure !== undefined) return failure;
  const sources = nameMissing(source);
  const isOptional = auth?.required === false;
  if (sources === "login") {
    return { finding: isOptional ? FINDINGS.optional : FINDINGS.login, message: `no login for ${key} has taken place` };
  }
  const finding = isOptional ? FINDINGS.optional : FINDINGS.missing;
  const verb = sources.includes(", ") ? "are" : "is";
  return { finding, message: `${key} has no credential${isOnDisk ? "" : `: ${sources} ${verb} not set`}` };
}
