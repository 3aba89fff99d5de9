/** What the routes of the control plane are made from, and what one of their requests carries. */
import type { HttpBindings } from "@hono/node-server";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Callers } from "../callers/callers.ts";
import type { IssuedKeys } from "../callers/issued-keys.ts";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import type { Plane } from "../callers/unauthenticated.ts";
import type { PlaneConfig } from "../config/planes.ts";
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { Connections } from "../perimeter/connections.ts";
import type { Cors } from "../perimeter/cors.ts";
import type { Instance } from "../perimeter/instance.ts";
import type { HostList, OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { Audit } from "../registry/audit.ts";
import type { DescribedBreaker } from "../registry/breaker-state.ts";
import type { CredentialRefusals } from "../registry/credential-refusals.ts";
import type { Explanation, RequestToExplain } from "../registry/explanation.ts";
import type { KeyChanges } from "../registry/key-changes.ts";
import type { PoolState } from "../registry/pool-state.ts";
import type { ProbeOutcome } from "../registry/probe-outcome.ts";
import type { DescribedQuota } from "../registry/quota-state.ts";
import type { Registry } from "../registry/registry.ts";
import type { ReloadOutcome } from "../registry/reload-outcome.ts";
import type { ServiceChanges } from "../registry/service-changes.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { SecretMask } from "../telemetry/redact.ts";
import type { UpdateStatus } from "../update-check.ts";

export interface ServiceLoad {
  /** Undefined without a limit of ours. */
  readonly limiter: Limiter | undefined;
  readonly slots: Slots;
  readonly transport: { connections(): PoolState };
  readonly webSocketSlots: Slots;
  readonly credentialRefusals: CredentialRefusals;
  /** Undefined where it is switched off. */
  readonly breaker: DescribedBreaker | undefined;
  /** Undefined where nobody asks for what the upstream allows. */
  readonly quota: DescribedQuota | undefined;
}

export interface Listener {
  readonly name: "main" | "management";
  readonly connections: Connections;
}

/** Whom a listener serves; one that is alone serves both. */
export interface Audience {
  readonly callers: boolean;
  readonly operators: boolean;
  /** Names by which `/status`, `/metrics` and `/docs` may be asked for here; undefined for any. */
  readonly hosts: HostList | undefined;
}

export interface ControlPlaneParts {
  readonly instance: Instance;
  readonly callers: Callers;
  readonly clients: ClientView;
  readonly cors: Cors;
  readonly registry: Registry;
  readonly monitor: PressureMonitor;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
  readonly metrics: Metrics;
  /** Reads the configuration anew. */
  readonly reload: () => Promise<ReloadOutcome>;
  readonly serviceChanges: ServiceChanges;
  readonly audit: Audit;
  readonly issuedKeys: Pick<IssuedKeys, "find" | "counts">;
  readonly keyChanges: KeyChanges;
  readonly keyUsage: Pick<KeyUsage, "note">;
  readonly keyRefusals: Pick<KeyRefusals, "noteError">;
  readonly fingerprint: Fingerprint;
  /** The gateway's own keys. */
  readonly planes: Readonly<Record<Plane, PlaneConfig>>;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  /** One look at the upstream of a service in the registry. */
  readonly probe: (key: string) => Promise<ProbeOutcome>;
  /** All checks, now. */
  readonly diagnose: () => Promise<Diagnostics>;
  /** What the data plane would do with a request. */
  readonly explain: (request: RequestToExplain) => Promise<Explanation>;
  /** Replaces every known secret. */
  readonly mask: SecretMask;
  /** Of a service in the registry. */
  readonly loadOf: (key: string) => ServiceLoad;
  /** All proxied requests under way. */
  readonly inFlight: Slots;
  /** Places for all WebSockets. */
  readonly webSockets: Slots;
  readonly openWebSockets: () => number;
  readonly listeners: () => readonly Listener[];
  readonly logger: Logger;
  readonly guardOpenProxyPlane: OpenPlaneGuard;
  readonly guardOpenManagementPlane: OpenPlaneGuard;
  /** The refusal of a request that a web page of another site makes, also where a key is set. */
  readonly findForeignPage: OpenPlaneGuard;
}

export interface ControlEnv {
  Bindings: HttpBindings;
  Variables: { requestId: string };
}

export type ControlPlane = OpenAPIHono<ControlEnv>;
