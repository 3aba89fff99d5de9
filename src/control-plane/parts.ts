/** The parts that the routes of the control plane use, and the variables of one request. */
import type { HttpBindings } from "@hono/node-server";
import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Audit } from "../callers/audit.ts";
import type { Caller, Callers } from "../callers/callers.ts";
import type { IssuedKeys } from "../callers/issued-keys.ts";
import type { KeyChanges } from "../callers/key-changes.ts";
import type { KeyPlaces } from "../callers/key-places.ts";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import type { Presentation } from "../callers/presentation.ts";
import type { TokenVerifier } from "../callers/token-verifier.ts";
import type { Plane } from "../callers/unauthenticated.ts";
import type { ReloadOutcome } from "../composition/reload-outcome.ts";
import type { ProxyUse } from "../config/egress-proxy.ts";
import type { PlaneConfig } from "../config/planes.ts";
import type { ServiceAddresses } from "../config/service-addresses.ts";
import type { DescribedCache } from "../data-plane/cache/service-cache.ts";
import type { CredentialProvider } from "../data-plane/credential/credential-provider.ts";
import type { RotationOrder } from "../data-plane/credential/staged-rotation.ts";
import type { CredentialRefusals } from "../data-plane/credential-refusals.ts";
import type { Explanation, RequestToExplain } from "../data-plane/dry-run/explanation.ts";
import type { DescribedBreaker } from "../data-plane/forward/breaker.ts";
import type { ProbeOutcome } from "../data-plane/forward/probe.ts";
import type { BegunRotation } from "../data-plane/forward/rotate-credential.ts";
import type { PoolState } from "../data-plane/forward/transport/transport.ts";
import type { DescribedIdempotency } from "../data-plane/idempotency/service-idempotency.ts";
import type { DescribedQuota } from "../data-plane/quota/describe.ts";
import type { SignatureCheck } from "../data-plane/signature/signature-check.ts";
import type { Spending } from "../data-plane/spend/spending.ts";
import type { Diagnostics } from "../diagnostics/diagnostics.ts";
import type { GatewayError } from "../errors.ts";
import type { UserHooks } from "../hooks/user-hooks.ts";
import type { Limiter } from "../limits/limiters.ts";
import type { ClientView } from "../perimeter/client-view.ts";
import type { Connections } from "../perimeter/connections.ts";
import type { Cors } from "../perimeter/cors.ts";
import type { Instance } from "../perimeter/instance.ts";
import type { ListenerCertificate } from "../perimeter/listener-certificate.ts";
import type { HostList, OpenPlaneGuard } from "../perimeter/open-plane.ts";
import type { PressureMonitor } from "../pressure/monitor.ts";
import type { Slots } from "../pressure/slots.ts";
import type { ServiceChanges } from "../services/changes.ts";
import type { Registry } from "../services/registry.ts";
import type { Fingerprint } from "../stores/installation-key.ts";
import type { SharedStore } from "../stores/shared-store.ts";
import type { EventFeed } from "../telemetry/event-feed.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { RecentExchanges } from "../telemetry/recent-exchanges.ts";
import type { SecretMask } from "../telemetry/redact.ts";
import type { UpdateStatus } from "../update-check.ts";

export interface ServiceLoad {
  /** Undefined if the service has no rate limit. */
  readonly limiter: Limiter | undefined;
  readonly slots: Slots;
  readonly transport: { connections(): PoolState };
  readonly webSocketSlots: Slots;
  readonly credentialRefusals: CredentialRefusals;
  readonly credential: Pick<CredentialProvider, "refresh" | "setLogin">;
  /** Undefined for a service without a credential. */
  readonly keyPlaces: KeyPlaces | undefined;
  /** Undefined for a service without signed requests. */
  readonly signature: Pick<SignatureCheck, "refusals"> | undefined;
  /** Undefined if it is switched off. */
  readonly breaker: DescribedBreaker | undefined;
  /** Undefined for a service without a cache. */
  readonly cache: DescribedCache | undefined;
  /** Undefined where it is off. */
  readonly idempotency: DescribedIdempotency | undefined;
  /** Undefined if the upstream's quota is not observed. */
  readonly quota: DescribedQuota | undefined;
  /** Undefined if every upstream is connected to directly. */
  readonly proxyUse: ProxyUse | undefined;
}

export interface Listener {
  readonly name: "main" | "management" | "service";
  readonly connections: Connections;
  /** The key of the service whose `port` it is. */
  readonly service?: string | undefined;
}

/** Who a listener serves. A single listener serves both. */
export interface Audience {
  readonly callers: boolean;
  readonly operators: boolean;
  /** Host names under which `/status`, `/metrics` and `/docs` are served. Undefined: any. */
  readonly hosts: HostList | undefined;
}

export interface ControlPlaneParts {
  readonly instance: Instance;
  readonly callers: Callers;
  readonly clients: ClientView;
  readonly cors: Cors;
  readonly registry: Registry;
  readonly serviceAddresses: () => Pick<ServiceAddresses, "find" | "findPort">;
  readonly monitor: PressureMonitor;
  /** Undefined for plain HTTP. */
  readonly certificate: Pick<ListenerCertificate, "current" | "needsClientCertificate"> | undefined;
  /** PRESSURE_RETRY_AFTER, s. */
  readonly retryAfterS: number;
  readonly metrics: Metrics;
  /** Reads the configuration again and applies it. */
  readonly reload: () => Promise<ReloadOutcome>;
  readonly serviceChanges: ServiceChanges;
  readonly audit: Audit;
  readonly issuedKeys: Pick<IssuedKeys, "find" | "counts">;
  readonly keyChanges: KeyChanges;
  readonly keyUsage: Pick<KeyUsage, "note">;
  readonly keyRefusals: Pick<KeyRefusals, "noteError">;
  readonly fingerprint: Fingerprint;
  /** Undefined without REDIS_URL. */
  readonly sharedStore: Pick<SharedStore, "describe"> | undefined;
  /** Undefined if the gateway accepts no tokens. */
  readonly tokens: Pick<TokenVerifier, "verify"> | undefined;
  /** The gateway's own keys. */
  readonly planes: Readonly<Record<Plane, PlaneConfig>>;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  /** Probes the upstream of a service in the registry. */
  readonly probe: (key: string, withinMs?: number) => Promise<ProbeOutcome>;
  /** Begins the rotation of the credential of a service in the registry. @throws GatewayError */
  readonly rotateCredential: (key: string, order: RotationOrder) => Promise<BegunRotation>;
  /** @throws GatewayError where none runs. */
  readonly cancelRotation: (key: string) => Promise<void>;
  /** Runs all checks. */
  readonly diagnose: () => Promise<Diagnostics>;
  /** Describes what the data plane would do with a request. */
  readonly explain: (request: RequestToExplain) => Promise<Explanation>;
  /** Budgets of tokens, and what was spent. */
  readonly spending: Pick<Spending, "used" | "budgets" | "ofService">;
  /** Replaces every known secret. */
  readonly mask: SecretMask;
  /** The load of a service in the registry. */
  readonly loadOf: (key: string) => ServiceLoad;
  /** Slots for all proxied requests. */
  readonly inFlight: Slots;
  /** Slots for all WebSockets. */
  readonly webSockets: Slots;
  readonly openWebSockets: () => number;
  readonly listeners: () => readonly Listener[];
  readonly logger: Logger;
  readonly recentExchanges: RecentExchanges;
  /** Undefined without user hooks. */
  readonly hooks: Pick<UserHooks, "counts"> | undefined;
  readonly events: EventFeed;
  /** Authenticates with the keys of now, for a response that outlives a reload. */
  readonly decideForCurrentKeys: (presentation: Presentation) => Caller | GatewayError;
  readonly guardOpenProxyPlane: OpenPlaneGuard;
  readonly guardOpenManagementPlane: OpenPlaneGuard;
  /** Refuses requests from web pages of other sites, also if a key is set. */
  readonly findForeignPage: OpenPlaneGuard;
}

export interface ControlEnv {
  Bindings: HttpBindings;
  Variables: { requestId: string };
}

export type ControlPlane = OpenAPIHono<ControlEnv>;
