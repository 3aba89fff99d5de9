/**
 * What a check is made of, and what it can read.
 * Invariant: a check changes nothing. All that it can find is listed beside it once, for the response and for
 * docs/troubleshooting.md. Its evidence contains no secret.
 */

import type { ListedKey } from "../callers/issued-keys.ts";
import type { KeyRefusal, RefusedKeys } from "../callers/key-refusals.ts";
import type { TokenVerifier } from "../callers/token-verifier.ts";
import type { Plane } from "../callers/unauthenticated.ts";
import type { Config, LoadConfig } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { DescribedBreaker } from "../data-plane/forward/breaker.ts";
import type { ProbeOutcome } from "../data-plane/forward/probe.ts";
import type { PoolState } from "../data-plane/forward/transport/transport.ts";
import type { DescribedQuota } from "../data-plane/quota/describe.ts";
import type { ServiceTimes } from "../data-plane/service-times.ts";
import type { SignatureCheck } from "../data-plane/signature/signature-check.ts";
import type { Spending } from "../data-plane/spend/spending.ts";
import type { UserHooks } from "../hooks/user-hooks.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { CertificateState } from "../perimeter/server-certificate.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import type { SharedStore } from "../stores/shared-store.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CountedRefusals } from "../telemetry/metrics.ts";
import type { UpdateStatus } from "../update-check.ts";
import type { Probes } from "./probes.ts";

/** A kind of problem, described in words that hold for every case of it. */
export interface Finding {
  readonly status: "warn" | "fail";
  /** What the user notices, or will notice. */
  readonly symptom: string;
  readonly fix: string;
}

/** A finding in one case. The message says what was seen. */
export interface Problem {
  readonly finding: Finding;
  readonly message: string;
}

export interface Verdict {
  readonly status: "ok" | "warn" | "fail";
  readonly summary: string;
  readonly evidence: Readonly<Record<string, unknown>>;
  /** Null if there is nothing to fix. */
  readonly fix: string | null;
}

export interface CheckResult extends Verdict {
  readonly id: string;
}

interface DescribedCheck {
  readonly id: string;
  /** What the check cannot run without: a running gateway, or a valid configuration. Without this member it always runs. */
  readonly needs?: "process" | "configuration";
  /** For docs/troubleshooting.md: what the check examines. */
  readonly inspects: string;
  readonly findings: Readonly<Record<string, Finding>>;
}

/** A check of the whole process. */
export interface Check extends DescribedCheck {
  run(context: DiagnosticsContext, probes: Probes): Verdict | Promise<Verdict>;
}

/** A check of each service in use. The ids of its results are `<id>:<service>`. */
export interface ServiceCheck extends DescribedCheck {
  /** Returns undefined if there is nothing to check. */
  run(
    subject: DiagnosedService,
    context: DiagnosticsContext,
    probes: Probes,
  ): Verdict | undefined | Promise<Verdict | undefined>;
}

export interface DiagnosedService {
  readonly service: Service;
  readonly isTlsStrict: boolean;
  /** The egress proxy to the base URL, without its credential; undefined for a direct connection. */
  readonly proxyUrl: string | undefined;
  readonly limiter: Limiter | undefined;
  readonly slots: Slots;
  readonly credentialRefusals: CredentialRefusals;
  /** Undefined for a service without signed requests. */
  readonly signature: Pick<SignatureCheck, "refusals"> | undefined;
  /** Undefined if it is switched off. */
  readonly breaker: DescribedBreaker | undefined;
  /** Undefined if the upstream's quota is not observed. */
  readonly quota: DescribedQuota | undefined;
  readonly times: ServiceTimes;
  readonly connections: () => PoolState;
}

export type IssuedKeyState = Pick<ListedKey, "id" | "name" | "state" | "expiresAt" | "rateLimit">;

export interface BoundListener {
  readonly name: string;
  /** The key of the service whose `port` it is. */
  readonly service?: string;
  readonly address: string;
  readonly port: number;
  readonly connections: number;
  readonly limit: number;
  readonly limitPerAddress: number | null;
}

/** What a start would find, while no gateway runs. */
export interface OfflineState {
  /** Whether the configuration is valid. If it is not, it contains no services. */
  readonly isValid: boolean;
  /** The addresses that the gateway would listen on. */
  readonly listeners: readonly { readonly address: string; readonly port: number }[];
  /** Describes what would keep the gateway from listening. */
  readonly findAddressObstacle: () => Promise<string | undefined>;
  /** The process that uses DATA_DIR. */
  readonly findStateHolder: () => Promise<string | undefined>;
  /** Describes a file in DATA_DIR that cannot be used. */
  readonly stateProblem: string | undefined;
}

/** What the checks read. */
export interface DiagnosticsContext {
  /** Undefined in a running gateway. */
  readonly offline?: OfflineState | undefined;
  /** The configuration in use. */
  readonly config: Config;
  /** Warnings about the configuration and about services added at run time. */
  readonly warnings: readonly string[];
  /** Reads the configuration again. @throws ConfigProblems */
  readonly load: LoadConfig;
  /** All services, by key. */
  readonly services: () => readonly DiagnosedService[];
  readonly probe: (key: string, withinMs: number) => Promise<ProbeOutcome>;
  readonly listeners: () => readonly BoundListener[];
  /** Undefined for plain HTTP. */
  readonly certificate: () => CertificateState | undefined;
  readonly isInContainer: boolean;
  /** DATA_DIR. Undefined if state is in memory. */
  readonly stateFolder: string | undefined;
  /** Undefined without REDIS_URL, and without a running gateway. */
  readonly sharedStore: Pick<SharedStore, "describe"> | undefined;
  readonly monitor: Pick<PressureMonitor, "sample" | "pressure" | "thresholds">;
  /** Bytes. */
  readonly memory: () => {
    readonly rss: number;
    readonly heapUsed: number;
    readonly heapLimit: number;
    readonly limit: number | null;
  };
  /** File descriptors, sockets included. Null if the system does not report them. */
  readonly descriptors: () => { readonly open: number; readonly limit: number } | null;
  /** By service. The key is empty for requests that were refused before a service was found. */
  readonly refusals: () => Promise<ReadonlyMap<string, readonly CountedRefusals[]>>;
  readonly refusedKeys: () => readonly RefusedKeys[];
  /** Whether a plane requires a key: by the configuration, or because keys were issued for it. */
  readonly isProtected: (plane: Plane) => boolean;
  readonly issuedKeys: () => Promise<readonly IssuedKeyState[]>;
  readonly issuedKeyCount: () => number;
  readonly keyRefusals: () => readonly KeyRefusal[];
  /** Ids of the keys that have used up their own limit. */
  readonly keysAtLimit: () => Promise<readonly string[]>;
  /** Budgets of tokens, of these services and of all keys. */
  readonly budgets: Spending["budgets"];
  /** Undefined if the gateway accepts no tokens. */
  readonly tokens: Pick<TokenVerifier, "jwks"> | undefined;
  /** Undefined without user hooks, and without a running gateway. */
  readonly hooks: Pick<UserHooks, "counts"> | undefined;
  readonly refusedOrigins: ReadonlyMap<string, number>;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  readonly fingerprint: Fingerprint;
  readonly logger: Pick<Logger, "error" | "recentErrors">;
}

/**
 * Combines problems to one verdict: the worst status, and all messages.
 * @param okSummary the summary if there is no problem.
 */
export function conclude(problems: readonly Problem[], okSummary: string, evidence: Verdict["evidence"]): Verdict {
  if (problems.length === 0) return { status: "ok", summary: okSummary, evidence, fix: null };
  const fixes = new Set(problems.map(({ finding }) => finding.fix));
  return {
    status: problems.some(({ finding }) => finding.status === "fail") ? "fail" : "warn",
    summary: problems.map(({ message }) => message).join("; "),
    evidence,
    fix: [...fixes].join(" "),
  };
}

/** False for a built-in service without a credential and without an entry in the services file: it needs no checks. */
export function isInUse({ source, embedded, credential }: Service): boolean {
  return embedded || source !== "preset" || credential?.secrets.some(({ secret }) => secret !== undefined) === true;
}
