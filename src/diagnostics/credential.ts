/** Checks whether the upstream accepts the credential, and whether it is the same as on disk. */
import { entryOfSecret } from "../config/auth-entries.ts";
import {
  type CredentialSource,
  describeOnlyCommand,
  describeSecrets,
  identityOf,
  nameMissing,
} from "../config/credential-source.ts";
import { credentialState } from "../config/credentials.ts";
import { describeLife } from "../config/described-life.ts";
import { describePool } from "../config/pooled-state.ts";
import { describeRotation, NEXT } from "../config/rotation-state.ts";
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
import { CREDENTIAL_FINDINGS } from "./credential-findings.ts";
import { lifeProblems } from "./credential-life.ts";
import { pooledProblems } from "./pooled-credentials.ts";

/** Older refusals are probably fixed. */
const RECENT_MS = 3_600_000;

/** Bytes; as in the search of response headers. */
const SHORTEST_MASKED_SECRET = 8;

export const credential: ServiceCheck = {
  id: "credential",
  needs: "configuration",
  inspects:
    "the credential of each service in use: whether it is set, is the same as on disk, and is accepted by the upstream",
  findings: CREDENTIAL_FINDINGS,
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
      ...(refusals.life === undefined ? {} : { life: describeLife(refusals.life.describe()) }),
      loadedAt: secret === undefined ? null : new Date(refusals.since).toISOString(),
      upstreamSays: outcome?.credential ?? "unknown",
      refused:
        refusals.count === 0
          ? null
          : { count: refusals.count, lastStatus: refusals.lastStatus, lastAt: new Date(refusals.lastAt).toISOString() },
    };
    const changes = await secretsAwaitingReload(subject, context);
    const stale = changes.map((message) => ({ finding: CREDENTIAL_FINDINGS.stale, message }));
    if (credentialState(subject.service) === "pending") {
      return conclude(misplaced, "a command prints the credential, and has not run yet", evidence);
    }
    if (secret === undefined) {
      // A service that is not in use needs no credential until the next reload.
      const found = isInUse(service) ? [missing(subject, stale.length > 0), ...stale] : stale;
      return conclude(found, "the service is not in use", evidence);
    }
    const problems: Problem[] = [...misplaced];
    problems.push(
      ...failuresOf(source, key),
      ...faultsOf(subject),
      ...unfinished(source, key),
      ...lifeProblems(subject),
    );
    const isAccepted = outcome?.credential === "accepted" || refusals.accepted > 0;
    if (outcome?.credential === "refused" && !isAccepted) {
      problems.push({
        finding: CREDENTIAL_FINDINGS.refused,
        message: `${key} responds with ${outcome.responseStatus} to its credential`,
      });
    } else if (refusals.count > 0 && refusals.lastAt > Date.now() - RECENT_MS) {
      const message = `${key} refused its credential ${plural(refusals.count, "time")}, last with ${refusals.lastStatus}`;
      problems.push({ finding: isAccepted ? CREDENTIAL_FINDINGS.refusedLately : CREDENTIAL_FINDINGS.refused, message });
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
    const finding = isUsed ? CREDENTIAL_FINDINGS.tokenFailsLately : CREDENTIAL_FINDINGS.tokenFails;
    return [{ finding, message: `the token endpoint of ${key} ${token.failure}` }];
  }
  return (source?.secrets ?? []).flatMap(({ run, secret, source: named }) => {
    if (run?.failure === undefined) return [];
    const finding = secret === undefined ? CREDENTIAL_FINDINGS.commandFails : CREDENTIAL_FINDINGS.commandFailsLately;
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
    const message = `${key} uses its next secret, that of ${next?.source}, for all requests`;
    return [{ finding: CREDENTIAL_FINDINGS.promoted, message }];
  }
  if (rotation?.stage !== "rolled-back") return [];
  return [
    {
      finding: CREDENTIAL_FINDINGS.rolledBack,
      message: `the rotation of ${key} was rolled back, because ${rotation.reason}`,
    },
  ];
}

/** Of each secret: how it is written, and whether masks can search for it. */
function faultsOf({ service: { key, auth, credential: source } }: DiagnosedService): Problem[] {
  const own = source?.secrets ?? [];
  const all = source?.next === undefined ? own : [...own, source.next];
  return all.flatMap(({ name, secret, faults = [] }) => {
    const isNext = name === NEXT;
    const which = isNext ? "the next secret" : own.length === 1 ? "the secret" : `the secret ${name}`;
    const named = `${which} of ${key}`;
    const entry = auth && entryOfSecret(auth, isNext ? "token" : name);
    const isShort =
      !(entry?.auth.type === "basic" && entry.name === "username") &&
      secret !== undefined &&
      Buffer.byteLength(secret.reveal()) < SHORTEST_MASKED_SECRET;
    return [
      ...faults.map((fault) => ({ finding: CREDENTIAL_FINDINGS[fault], message: `${named} ${FAULT_TEXTS[fault]}` })),
      ...(isShort ? [{ finding: CREDENTIAL_FINDINGS.short, message: `${named} has fewer than 8 bytes` }] : []),
    ];
  });
}

function secretsInBaseUrls(service: Service): Problem[] {
  return baseUrlsOf(service)
    .filter(({ url }) => secretsInBaseUrl(url).length > 0)
    .map(({ path }) => ({
      finding: CREDENTIAL_FINDINGS.inBaseUrl,
      message: `${path.join(".")} of ${service.key} seems to contain a secret`,
    }));
}

function missing({ service: { key, auth, credential: source } }: DiagnosedService, isOnDisk: boolean): Problem {
  if (source?.withheld !== undefined)
    return { finding: CREDENTIAL_FINDINGS.withheld, message: source.withheld.message };
  const [failure] = source?.of === undefined ? failuresOf(source, key) : [];
  if (failure !== undefined) return failure;
  const sources = nameMissing(source);
  const isOptional = auth?.required === false;
  if (sources === "login") {
    return {
      finding: isOptional ? CREDENTIAL_FINDINGS.optional : CREDENTIAL_FINDINGS.login,
      message: `no login for ${key} has taken place`,
    };
  }
  const finding = isOptional ? CREDENTIAL_FINDINGS.optional : CREDENTIAL_FINDINGS.missing;
  const verb = sources.includes(", ") ? "are" : "is";
  return { finding, message: `${key} has no credential${isOnDisk ? "" : `: ${sources} ${verb} not set`}` };
}
