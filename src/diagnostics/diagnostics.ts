/**
 * Runs all checks in parallel within a time limit, and summarizes their results.
 * Invariant: a check that throws or takes too long produces a result like any other. Simultaneous requests share one run.
 */
import type { RecentError } from "../telemetry/recent-errors.ts";
import { Yielder } from "../yielder.ts";
import { auth } from "./auth.ts";
import { awaitsReload } from "./awaiting-reload.ts";
import { budgets } from "./budgets.ts";
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
import { credential } from "./credential.ts";
import { dataDir } from "./data-dir.ts";
import { describeAuthentication, describeEnvironment, describeNetwork, describeSystem } from "./describe.ts";
import { egressProxy } from "./egress-proxy.ts";
import { envFiles } from "./env-files.ts";
import { hooks } from "./hooks.ts";
import { keys } from "./keys.ts";
import { latency } from "./latency.ts";
import { limits } from "./limits.ts";
import { listen } from "./listen.ts";
import { memory } from "./memory.ts";
import { pool } from "./pool.ts";
import { pressure } from "./pressure.ts";
import { startProbes } from "./probes.ts";
import { quota } from "./quota.ts";
import { reach } from "./reach.ts";
import { signature } from "./signature.ts";
import { store } from "./store.ts";
import { tls } from "./tls.ts";
import { tlsListener } from "./tls-listener.ts";
import { tokens } from "./tokens.ts";
import { update } from "./update.ts";

/** In the order of their results. */
export const CHECKS: readonly Check[] = [
  listen,
  tlsListener,
  configuration,
  envFiles,
  dataDir,
  store,
  update,
  pressure,
  memory,
  clock,
  egressProxy,
  auth,
  keys,
  budgets,
  tokens,
  cors,
  hooks,
];
export const SERVICE_CHECKS: readonly ServiceCheck[] = [
  reach,
  tls,
  latency,
  credential,
  signature,
  limits,
  quota,
  pool,
];

/** For all checks. The probes end earlier, so that the checks have time to report what they found. */
const BUDGET_MS = 5_000;
const PROBES_MS = 4_500;

export interface Diagnostics {
  readonly system: ReturnType<typeof describeSystem>;
  readonly network: ReturnType<typeof describeNetwork>;
  readonly environment: ReturnType<typeof describeEnvironment>;
  readonly authentication: ReturnType<typeof describeAuthentication>;
  readonly checks: readonly CheckResult[];
  /** From the log, newest first. */
  readonly recentErrors: readonly RecentError[];
  readonly summary: {
    /** The worst status of all checks. */
    readonly status: Verdict["status"];
    readonly ok: number;
    readonly warn: number;
    readonly fail: number;
    readonly durationMs: number;
  };
}

/** The findings for a check that did not finish. */
export const UNFINISHED = {
  late: {
    status: "warn",
    symptom: "a check took too long",
    fix: "Run the diagnostics again. The log shows what the process is busy with.",
  },
  broken: {
    status: "warn",
    symptom: "a check threw an error",
    fix: "This is a bug in the gateway. Please report it.",
  },
} as const;

export function createDiagnostics(context: DiagnosticsContext): () => Promise<Diagnostics> {
  let running: Promise<Diagnostics> | undefined;
  return () => {
    running ??= diagnose(readOnce(context)).finally(() => {
      running = undefined;
    });
    return running;
  };
}

/** Reads once per run what the check of each service needs: there may be thousands of services. */
function readOnce(context: DiagnosticsContext): DiagnosticsContext {
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
  const yielder = new Yielder();
  const authentication = describeAuthentication(context);
  if (yielder.isDue) await yielder.yield();
  const checks = await runWithin(BUDGET_MS, context, (start) => startAll(context, start, yielder));
  // The caller writes the result next, which takes long for 1,000 services.
  if (yielder.isDue) await yielder.yield();
  const count = (status: Verdict["status"]) => checks.filter((check) => check.status === status).length;
  const [warn, fail] = [count("warn"), count("fail")];
  return {
    system: describeSystem(context),
    network: describeNetwork(context),
    environment: describeEnvironment(context),
    authentication,
    checks,
    recentErrors: context.logger.recentErrors(),
    summary: {
      status: fail > 0 ? "fail" : warn > 0 ? "warn" : "ok",
      ok: count("ok"),
      warn,
      fail,
      durationMs: Math.round(performance.now() - startedAt),
    },
  };
}

type Start = (check: Check | ServiceCheck, id: string, run: () => ReturnType<ServiceCheck["run"]>) => void;

async function startAll(context: DiagnosticsContext, start: Start, yielder: Yielder): Promise<void> {
  const inUse = context.services().filter(({ service }) => isInUse(service));
  const probes = startProbes(
    inUse.map(({ service }) => service.key),
    context.probe,
    PROBES_MS,
  );
  const startForService = (check: ServiceCheck, subject: DiagnosedService) =>
    start(check, `${check.id}:${subject.service.key}`, () => check.run(subject, context, probes));
  for (const check of CHECKS) {
    start(check, check.id, () => check.run(context, probes));
    if (yielder.isDue) await yielder.yield();
  }
  for (const subject of inUse) {
    for (const check of SERVICE_CHECKS) startForService(check, subject);
    if (yielder.isDue) await yielder.yield();
  }
  for (const subject of context.services()) {
    if (await awaitsReload(subject, context)) startForService(credential, subject);
    if (yielder.isDue) await yielder.yield();
  }
}

/** While no gateway runs, the checks that need a running gateway are skipped. */
function canRun({ needs }: Check | ServiceCheck, offline: OfflineState | undefined): boolean {
  return offline === undefined || needs === undefined || (needs === "configuration" && offline.isValid);
}

/** Ids of the checks that are skipped while no gateway runs. */
export function checksSkippedOffline(offline: OfflineState): string[] {
  const checks = [
    ...CHECKS.map((check) => ({ check, id: check.id })),
    ...SERVICE_CHECKS.map((check) => ({ check, id: `${check.id}:<service>` })),
  ];
  return checks.filter(({ check }) => !canRun(check, offline)).map(({ id }) => id);
}

async function attempt(
  id: string,
  { logger }: DiagnosticsContext,
  run: () => Verdict | undefined | Promise<Verdict | undefined>,
): Promise<Verdict | undefined> {
  try {
    return await run();
  } catch (error) {
    logger.error({ err: error, check: id }, "a check failed");
    return conclude([{ finding: UNFINISHED.broken, message: "the check failed; the log has the cause" }], "", {});
  }
}

interface StartedCheck {
  readonly id: string;
  /** Undefined until the check is done. */
  outcome: { readonly verdict: Verdict | undefined } | undefined;
}

/**
 * Leaves out the checks that had nothing to check.
 * @param startAll starts all checks, in the order of their results.
 */
async function runWithin(
  budgetMs: number,
  context: DiagnosticsContext,
  startAll: (start: Start) => Promise<void>,
): Promise<CheckResult[]> {
  const all: StartedCheck[] = [];
  // Starts at 1 for `startAll` itself: the run is not over while checks are still being started.
  let running = 1;
  let timer: NodeJS.Timeout | undefined;
  let finishOne = () => {};
  const ended = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, budgetMs);
    finishOne = () => {
      running -= 1;
      if (running === 0) resolve();
    };
  });
  await startAll((check, id, run) => {
    if (!canRun(check, context.offline)) return;
    const started: StartedCheck = { id, outcome: undefined };
    all.push(started);
    running += 1;
    void attempt(check.id, context, run).then((verdict) => {
      started.outcome = { verdict };
      finishOne();
    });
  });
  finishOne();
  await ended;
  clearTimeout(timer);
  const message = `the check did not finish within ${budgetMs} ms`;
  const late = { verdict: conclude([{ finding: UNFINISHED.late, message }], "", {}) };
  return all.flatMap(({ id, outcome = late }) => (outcome.verdict === undefined ? [] : [{ id, ...outcome.verdict }]));
}

/** Calls `read` once. Later calls return the same value, or throw the same error. */
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
