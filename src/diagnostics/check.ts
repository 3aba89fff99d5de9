/**
 * What every check is made of.
 * Invariant: a check looks and changes nothing; what it can find is written down beside it once, for its answer and for
 * docs/troubleshooting.md; and no secret is in its evidence.
 */
import type { Plane } from "../callers/callers.ts";
import type { ListedKey } from "../callers/issued-keys.ts";
import type { KeyRefusal } from "../callers/key-refusals.ts";
import type { RefusedKeys } from "../callers/refused-keys.ts";
import type { Config, LoadConfig } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { DescribedBreaker } from "../registry/breaker-state.ts";
import type { CredentialRefusals } from "../registry/credential-refusals.ts";
import type { PoolState } from "../registry/pool-state.ts";
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { DescribedQuota } from "../registry/quota-state.ts";
import type { ServiceTimes } from "../registry/service-times.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { CountedRefusals } from "../telemetry/metrics.ts";
import type { UpdateStatus } from "../update-check.ts";

/** Something that can be wrong, in words that hold for every case of it. */
export interface Find {
  readonly status: "warn" | "fail";
  /** What the user notices, or will. */
  readonly symptom: string;
  readonly fix: string;
}

/** A find in this case: the words name what was seen. */
export interface Problem {
  readonly find: Find;
  readonly words: string;
}

export interface Verdict {
  readonly status: "ok" | "warn" | "fail";
  readonly summary: string;
  readonly evidence: Readonly<Record<string, unknown>>;
  /** Null where nothing is to be mended. */
  readonly fix: string | null;
}

export interface CheckResult extends Verdict {
  readonly id: string;
}

interface Described {
  readonly id: string;
  /** What it cannot do without; left out: it is run whatever there is. */
  readonly needs?: "process" | "configuration";
  /** Completes "looks at …". */
  readonly looksAt: string;
  readonly finds: Readonly<Record<string, Find>>;
}

/** Of the process as a whole. */
export interface Check extends Described {
  run(context: DiagnosticsContext, looks: Looks): Verdict | Promise<Verdict>;
}

/** Of each service that is in use; its results are called `<id>:<service>`. */
export interface ServiceCheck extends Described {
  /** Undefined where there is nothing to look at. */
  run(
    subject: DiagnosedService,
    context: DiagnosticsContext,
    looks: Looks,
  ): Verdict | undefined | Promise<Verdict | undefined>;
}

/** One look at each upstream, shared by the checks. */
export interface Looks {
  /** Undefined when the time was up before its turn came. */
  of(key: string): Promise<ProbeOutcome | undefined>;
  all(): Promise<readonly ProbeOutcome[]>;
}

export interface DiagnosedService {
  readonly service: Service;
  readonly isTlsStrict: boolean;
  readonly limiter: Limiter | undefined;
  readonly slots: Slots;
  readonly credentialRefusals: CredentialRefusals;
  /** Undefined where it is switched off. */
  readonly breaker: DescribedBreaker | undefined;
  /** Undefined where nobody asks for what the upstream allows. */
  readonly quota: DescribedQuota | undefined;
  readonly times: ServiceTimes;
  readonly connections: () => PoolState;
}

export type IssuedKeyState = Pick<ListedKey, "id" | "name" | "state" | "expiresAt" | "rateLimit">;

export interface BoundListener {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly connections: number;
  readonly limit: number;
  readonly limitPerAddress: number | null;
}

/** What a start would meet, where no gateway runs. */
export interface OfflineState {
  /** Whether it could serve by the configuration; where it could not, there are no services in it. */
  readonly isValid: boolean;
  /** Where it would listen. */
  readonly listeners: readonly { readonly address: string; readonly port: number }[];
  /** What keeps it from listening, in words. */
  readonly findAddressObstacle: () => Promise<string | undefined>;
  /** The process that holds DATA_DIR. */
  readonly findStateHolder: () => Promise<string | undefined>;
  /** What stands in DATA_DIR and cannot be used, in words. */
  readonly stateProblem: string | undefined;
}

/** Where the checks look. */
export interface DiagnosticsContext {
  /** Undefined in a gateway that runs. */
  readonly offline?: OfflineState | undefined;
  /** What is served by. */
  readonly config: Config;
  /** Of the configuration and of what was added to it. */
  readonly warnings: readonly string[];
  /** The configuration as it would be read now. @throws ConfigProblems */
  readonly load: LoadConfig;
  /** All that is served, by key. */
  readonly services: () => readonly DiagnosedService[];
  readonly probe: (key: string, withinMs: number) => Promise<ProbeOutcome>;
  readonly listeners: () => readonly BoundListener[];
  readonly isInContainer: boolean;
  /** DATA_DIR; undefined where state is in memory. */
  readonly stateFolder: string | undefined;
  readonly monitor: Pick<PressureMonitor, "sample" | "pressure" | "thresholds">;
  /** Bytes. */
  readonly memory: () => {
    readonly rss: number;
    readonly heapUsed: number;
    readonly heapLimit: number;
    readonly limit: number | null;
  };
  /** Of files and sockets; null where the system does not tell. */
  readonly descriptors: () => { readonly open: number; readonly limit: number } | null;
  /** By service; empty where none was found, or nobody was let in. */
  readonly refusals: () => Promise<ReadonlyMap<string, readonly CountedRefusals[]>>;
  readonly refusedKeys: () => readonly RefusedKeys[];
  /** Whether a plane asks for a key: by the configuration, or because keys were issued for it. */
  readonly isProtected: (plane: Plane) => boolean;
  readonly issuedKeys: () => readonly IssuedKeyState[];
  readonly keyRefusals: () => readonly KeyRefusal[];
  /** Ids of the keys that have used up the limit that they bear themselves. */
  readonly keysAtLimit: () => Promise<readonly string[]>;
  readonly refusedOrigins: ReadonlyMap<string, number>;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  readonly fingerprint: Fingerprint;
  readonly logger: Pick<Logger, "error" | "recentErrors">;
}

/** The worst of the problems, and all of their words. @param fine said where there is none. */
export function conclude(problems: readonly Problem[], fine: string, evidence: Verdict["evidence"]): Verdict {
  if (problems.length === 0) return { status: "ok", summary: fine, evidence, fix: null };
  const fixes = new Set(problems.map(({ find }) => find.fix));
  return {
    status: problems.some(({ find }) => find.status === "fail") ? "fail" : "warn",
    summary: problems.map(({ words }) => words).join("; "),
    evidence,
    fix: [...fixes].join(" "),
  };
}

/** Built in, without a credential and not in the file: not in use, and nobody's problem. */
export function isInUse({ source, embedded, credential }: Service): boolean {
  return embedded || source !== "preset" || credential?.secret !== undefined;
}
