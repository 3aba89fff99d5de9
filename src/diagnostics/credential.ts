/** Whether the upstream takes the credential, and whether it is the one that is on the disk. */
import { ConfigProblems } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { plural } from "../plural.ts";
import {
  conclude,
  type DiagnosedService,
  type DiagnosticsContext,
  isInUse,
  type Problem,
  type ServiceCheck,
} from "./check.ts";

const FINDS = {
  missing: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING",
    fix: "Set the variable or file in evidence.source and reload, or set auth.required to false.",
  },
  withheld: {
    status: "fail",
    symptom: "401 UPSTREAM_CREDENTIAL_MISSING although the secret is there",
    fix: "The secret is bound to another origin or place: list it in REST_SECRETS, as the warning in check config says.",
  },
  optional: {
    status: "warn",
    symptom: "requests go out without a credential",
    fix: "Set the variable or file in evidence.source, or leave it where the upstream needs none.",
  },
  refused: {
    status: "fail",
    symptom: "401 or 403 of the upstream",
    fix: "The credential is expired, revoked, of the wrong kind, or without the right: make a new one, and put it where evidence.source says.",
  },
  refusedLately: {
    status: "warn",
    symptom: "401 or 403 of the upstream to some requests",
    fix: "The credential is taken, but not for all that is asked with it: give it the rights that are missing.",
  },
  stale: {
    status: "warn",
    symptom: "a new token has no effect",
    fix: "POST /manage/reload reads variables anew from the env files; one of the process's own environment takes a restart.",
  },
} as const;

/** A refusal that is older than this has been mended, or is nobody's concern, ms. */
const RECENT_MS = 3_600_000;

export const credential: ServiceCheck = {
  id: "credential",
  needs: "configuration",
  looksAt: "the credential of each service in use: whether it is there, is what is on the disk, and is taken",
  finds: FINDS,
  async run(subject, context, looks) {
    const { service, credentialRefusals: refusals } = subject;
    const { auth, credential: source, key } = service;
    if (auth === undefined) return undefined;
    const look = await looks.of(key);
    const secret = source?.secret?.reveal();
    const evidence = {
      ...{ type: auth.type, source: source?.source ?? null },
      fingerprint: secret === undefined ? null : context.fingerprint.credential(secret),
      loadedAt: secret === undefined ? null : new Date(refusals.since).toISOString(),
      upstreamSays: look?.credential ?? "unknown",
      refused:
        refusals.count === 0
          ? null
          : { count: refusals.count, lastStatus: refusals.lastStatus, lastAt: new Date(refusals.lastAt).toISOString() },
    };
    const stale = await staleness(subject, context);
    if (secret === undefined) {
      // Of one that is not in use nobody misses anything, until the next reload.
      const found = isInUse(service) ? [missing(subject, stale.length > 0), ...stale] : stale;
      return conclude(found, "it is not in use", evidence);
    }
    const problems: Problem[] = [];
    const isTaken = look?.credential === "accepted" || refusals.accepted > 0;
    if (look?.credential === "refused" && !isTaken) {
      problems.push({ find: FINDS.refused, words: `${key} answers ${look.responseStatus} to its credential` });
    } else if (refusals.count > 0 && refusals.lastAt > Date.now() - RECENT_MS) {
      const words = `${key} refused its credential ${plural(refusals.count, "time")}, last with ${refusals.lastStatus}`;
      problems.push({ find: isTaken ? FINDS.refusedLately : FINDS.refused, words });
    }
    problems.push(...stale);
    return conclude(problems, look?.credential === "accepted" ? "it is there, and taken" : "it is there", evidence);
  },
};

function missing({ service: { key, auth, credential: source } }: DiagnosedService, isThereByNow: boolean): Problem {
  if (source?.withheld !== undefined) return { find: FINDS.withheld, words: source.withheld.message };
  const find = auth?.required === false ? FINDS.optional : FINDS.missing;
  return { find, words: `${key} has no credential${isThereByNow ? "" : `: ${source?.source} holds none`}` };
}

/** Of services from the file: what is read now is another secret than the one in use, or the first, or none any more. */
async function staleness({ service }: DiagnosedService, context: DiagnosticsContext): Promise<Problem[]> {
  const { key, source: from, credential: served } = service;
  if (from !== "file" && from !== "preset") return [];
  const next = await readAgain(key, context);
  const [old, now] = [served?.secret?.reveal(), next?.credential?.secret?.reveal()];
  if (next === undefined || now === old) return [];
  const place = (next.credential ?? served)?.source;
  const what =
    now === undefined
      ? "holds none any more, and the old one is in use"
      : `holds ${old === undefined ? "a secret by now, which is not in use yet" : "another secret than the one in use"}`;
  return [{ find: FINDS.stale, words: `${place} ${what}` }];
}

/** The service as a reload would have it; undefined where it would be refused: the check of the configuration tells. */
async function readAgain(key: string, { load }: Pick<DiagnosticsContext, "load">): Promise<Service | undefined> {
  try {
    return (await load()).services.get(key);
  } catch (error) {
    if (error instanceof ConfigProblems) return undefined;
    throw error;
  }
}

/** Built in and not in use, until the next reload: its credential is on the disk by now. */
export async function awaitsReload(
  { service }: DiagnosedService,
  context: Pick<DiagnosticsContext, "load">,
): Promise<boolean> {
  try {
    const next = await readAgain(service.key, context);
    return !isInUse(service) && next !== undefined && isInUse(next);
  } catch {
    // What went wrong is told by the checks that read it, too.
    return false;
  }
}
