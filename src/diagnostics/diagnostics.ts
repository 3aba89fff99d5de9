/**
 * Runs all checks, side by side and within a budget of time, and says what there is to say of the whole.
 * Invariant: a check that fails itself, or takes too long, is a result like any other; and two who ask at the same time get one run.
 */
import type { RecentError } from "../telemetry/recent-errors.ts";
import { Turns } from "../turns.ts";
import { auth } from "./auth.ts";
import {
  type Check,
  type CheckResult,
  conclude,
  type DiagnosedService,
  type DiagnosticsContext,
  isInUse,
  type OfflineState,
  type ServiceCheck,
  type Verdict,
} from "./check.ts";
import { clock } from "./clock.ts";
import { configuration } from "./configuration.ts";
import { cors } from "./cors.ts";
import { awaitsReload, credential } from "./credential.ts";
import { dataDir } from "./data-dir.ts";
import { describeAuthentication, describeEnvironment, describeNetwork, describeSystem } from "./describe.ts";
import { envFiles } from "./env-files.ts";
import { keys } from "./keys.ts";
import { latency } from "./latency.ts";
import { limits } from "./limits.ts";
import { listen } from "./listen.ts";
import { takeLooks } from "./looks.ts";
import { memory } from "./memory.ts";
import { pool } from "./pool.ts";
import { pressure } from "./pressure.ts";
import { quota } from "./quota.ts";
import { reach } from "./reach.ts";
import { store } from "./store.ts";
import { tls } from "./tls.ts";
import { update } from "./update.ts";

/** In the order in which they are told. */
export const CHECKS: readonly Check[] = [
  ...[listen, configuration, envFiles, dataDir, store, update, pressure, memory, clock, auth, keys, cors],
];
export const SERVICE_CHECKS: readonly ServiceCheck[] = [reach, tls, latency, credential, limits, quota, pool];

/** ms for all of it; the looks at upstreams end sooner, so that there is time to say what they found. */
const BUDGET_MS = 5_000;
const LOOKS_MS = 4_500;

export interface Diagnostics {
  readonly system: ReturnType<typeof describeSystem>;
  readonly network: ReturnType<typeof describeNetwork>;
  readonly environment: ReturnType<typeof describeEnvironment>;
  readonly authentication: Awaited<ReturnType<typeof describeAuthentication>>;
  readonly checks: readonly CheckResult[];
  /** Of the log, newest first. */
  readonly recentErrors: readonly RecentError[];
  readonly summary: {
    /** The worst of the checks. */
    readonly status: Verdict["status"];
    readonly ok: number;
    readonly warn: number;
    readonly fail: number;
    readonly durationMs: number;
  };
}

/** What a check that did not come to its end is told with. */
export const UNFINISHED = {
  late: {
    status: "warn",
    symptom: "a check took too long",
    fix: "Ask again; the log has what the process is busy with.",
  },
  broken: {
    status: "warn",
    symptom: "a check failed itself",
    fix: "This is a mistake in the gateway: please report it.",
  },
} as const;

export function createDiagnostics(context: DiagnosticsContext): () => Promise<Diagnostics> {
  let running: Promise<Diagnostics> | undefined;
  return () => {
    running ??= diagnose(askedOnce(context)).finally(() => {
      running = undefined;
    });
    return running;
  };
}

/** What every check of a service may ask for is found out once for all of them: there may be thousands. */
function askedOnce(context: DiagnosticsContext): DiagnosticsContext {
  return {
    ...context,
    load: once(context.load),
    descriptors: once(context.descriptors),
    services: once(context.services),
    refusals: once(context.refusals),
    issuedKeys: once(context.issuedKeys),
  };
}

async function diagnose(context: DiagnosticsContext): Promise<Diagnostics> {
  const startedAt = performance.now();
  const checks = await within(BUDGET_MS, context, (begin) => beginAll(context, begin));
  const count = (status: Verdict["status"]) => checks.filter((check) => check.status === status).length;
  const [warn, fail] = [count("warn"), count("fail")];
  return {
    system: describeSystem(context),
    network: describeNetwork(context),
    environment: describeEnvironment(context),
    authentication: await describeAuthentication(context),
    checks,
    recentErrors: context.logger.recentErrors(),
    summary: {
      status: fail > 0 ? "fail" : warn > 0 ? "warn" : "ok",
      ...{ ok: count("ok"), warn, fail },
      durationMs: Math.round(performance.now() - startedAt),
    },
  };
}

type Begin = (check: Check | ServiceCheck, id: string, run: () => ReturnType<ServiceCheck["run"]>) => void;

async function beginAll(context: DiagnosticsContext, begin: Begin): Promise<void> {
  const inUse = context.services().filter(({ service }) => isInUse(service));
  const looks = takeLooks(
    inUse.map(({ service }) => service.key),
    context.probe,
    LOOKS_MS,
  );
  const turns = new Turns();
  const ofService = (check: ServiceCheck, subject: DiagnosedService) =>
    begin(check, `${check.id}:${subject.service.key}`, () => check.run(subject, context, looks));
  for (const check of CHECKS) {
    begin(check, check.id, () => check.run(context, looks));
    if (turns.isOver) await turns.next();
  }
  for (const subject of inUse) {
    for (const check of SERVICE_CHECKS) ofService(check, subject);
    if (turns.isOver) await turns.next();
  }
  for (const subject of context.services()) {
    if (await awaitsReload(subject, context)) ofService(credential, subject);
    if (turns.isOver) await turns.next();
  }
}

/** Where no gateway runs, what only a running one can tell is not guessed at. */
function canRun({ needs }: Check | ServiceCheck, offline: OfflineState | undefined): boolean {
  return offline === undefined || needs === undefined || (needs === "configuration" && offline.isValid);
}

/** Ids of the checks that are not run where no gateway runs. */
export function checksSkippedOffline(offline: OfflineState): string[] {
  const ids = [...CHECKS.map((check) => [check, check.id] as const), ...ofAnyService()];
  return ids.filter(([check]) => !canRun(check, offline)).map(([, id]) => id);
}

const ofAnyService = () => SERVICE_CHECKS.map((check) => [check, `${check.id}:<service>`] as const);

async function attempt(
  id: string,
  { logger }: DiagnosticsContext,
  run: () => Verdict | undefined | Promise<Verdict | undefined>,
): Promise<Verdict | undefined> {
  try {
    return await run();
  } catch (error) {
    logger.error({ err: error, check: id }, "a check failed");
    return conclude([{ find: UNFINISHED.broken, words: "the check failed; the log has the cause" }], "", {});
  }
}

interface Begun {
  readonly id: string;
  /** Undefined until it is done. */
  outcome: { readonly verdict: Verdict | undefined } | undefined;
}

/** Those that had nothing to look at are left out. @param beginAll begins them, in the order in which they are told. */
async function within(
  budgetMs: number,
  context: DiagnosticsContext,
  beginAll: (begin: Begin) => Promise<void>,
): Promise<CheckResult[]> {
  const all: Begun[] = [];
  let underWay = 1;
  let timer: NodeJS.Timeout | undefined;
  let end = () => {};
  const ended = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, budgetMs);
    end = () => {
      underWay -= 1;
      if (underWay === 0) resolve();
    };
  });
  await beginAll((check, id, run) => {
    if (!canRun(check, context.offline)) return;
    const begun: Begun = { id, outcome: undefined };
    all.push(begun);
    underWay += 1;
    void attempt(check.id, context, run).then((verdict) => {
      begun.outcome = { verdict };
      end();
    });
  });
  end();
  await ended;
  clearTimeout(timer);
  const words = `it was not done within ${budgetMs} ms`;
  const late = { verdict: conclude([{ find: UNFINISHED.late, words }], "", {}) };
  return all.flatMap(({ id, outcome = late }) => (outcome.verdict === undefined ? [] : [{ id, ...outcome.verdict }]));
}

/** For all checks of a run: what is read off the disk or the system is read once, and what that throws is thrown to each. */
function once<T>(read: () => T): () => T {
  let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
  return () => {
    outcome ??= tryTo(read);
    if ("error" in outcome) throw outcome.error;
    return outcome.value;
  };
}

function tryTo<T>(read: () => T) {
  try {
    return { value: read() };
  } catch (error) {
    return { error };
  }
}
