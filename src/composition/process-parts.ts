/**
 * The parts that outlive every configuration: created once, passed to each generation, closed with the gateway.
 * Invariant: every stateful part that belongs to no service and follows from no configuration is created here.
 */
import { createAudit } from "../callers/audit.ts";
import { carriesKey } from "../callers/carried-keys.ts";
import type { IssuedKeys } from "../callers/issued-keys.ts";
import {
  createKeyRefusals,
  createRefusedKeys,
  type KeyRefusals,
  type RefusedKeyCounts,
} from "../callers/key-refusals.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import { createLockOut, type LockOut } from "../callers/lock-out.ts";
import type { Config, LoadConfig } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { ControlPlaneParts, Listener } from "../control-plane/parts.ts";
import { createTunnels } from "../data-plane/forward/tunnel.ts";
import type { PipelineParts } from "../data-plane/pipeline.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import { createEchoUpstream } from "../echo-upstream.ts";
import type { KeyLimits } from "../limits/limiters.ts";
import { SharedBudget } from "../limits/shared-budget.ts";
import { createInstance } from "../perimeter/instance.ts";
import { type ListenerCertificate, openListenerCertificate } from "../perimeter/listener-certificate.ts";
import { createPressureMonitor } from "../pressure/monitor.ts";
import { Slots } from "../pressure/slots.ts";
import { EventFeed } from "../telemetry/event-feed.ts";
import { createLogger, type Logger } from "../telemetry/logger.ts";
import { createMetrics, type MetricSources } from "../telemetry/metrics.ts";
import { RecentExchanges } from "../telemetry/recent-exchanges.ts";
import { version } from "../version.ts";
import { openCredentialSources } from "./credential-sources.ts";
import { createEventSources } from "./event-sources.ts";
import type { GatewayOptions, GatewayStores } from "./gateway-options.ts";
import { createMasks, type Masks } from "./masks.ts";
import { openSharedStore, type SharedParts } from "./open-shared-store.ts";
import { reportStoreFailures } from "./report-store-failures.ts";
import type { OpenListener } from "./service-ports.ts";
import { openKeyParts, openUpstreamState } from "./stored-parts.ts";
import type { UpstreamContext } from "./upstreams.ts";

/** A listener with its address; undefined while it is not bound. */
export interface BoundListener extends Listener {
  readonly boundTo: () => readonly { readonly address: string; readonly port: number }[];
}

export interface ProcessParts
  extends Pick<
      PipelineParts,
      | "instance"
      | "logger"
      | "metrics"
      | "monitor"
      | "inFlight"
      | "webSockets"
      | "retryAfterS"
      | "tunnels"
      | "signedBodies"
      | "spending"
    >,
    Pick<
      ControlPlaneParts,
      | "openWebSockets"
      | "keyChanges"
      | "audit"
      | "fingerprint"
      | "mask"
      | "recentExchanges"
      | "events"
      | "decideForCurrentKeys"
    >,
    Omit<UpstreamContext, "settings" | "events" | keyof SharedParts>,
    SharedParts {
  readonly issuedKeys: IssuedKeys;
  readonly keyUsage: KeyUsage;
  readonly keyRefusals: KeyRefusals;
  readonly lockOut: LockOut;
  readonly refusedKeys: RefusedKeyCounts;
  readonly keyLimits: KeyLimits;
  /** Reads the configuration as a reload does. @throws ConfigProblems */
  readonly load: LoadConfig;
  /** Must run before these services, or this configuration, are served: from then on the log and responses mask their secrets. */
  readonly addSecrets: (config: Config, services: Iterable<Service>) => void;
  /** DATA_DIR; undefined if state is in memory. */
  readonly stateFolder: string | undefined;
  /** Undefined in a running gateway. */
  readonly offline: OfflineState | undefined;
  readonly listeners: () => readonly BoundListener[];
  /** Undefined for plain HTTP. */
  readonly certificate: ListenerCertificate | undefined;
  /** The addresses since the start: a reload does not move a listener. */
  readonly addresses: Pick<Config, "isLoopback" | "managementListener">;
  close(): Promise<void>;
}

export interface ProcessPartsInput {
  /** The configuration of the start. */
  readonly config: Config;
  readonly options: GatewayOptions;
  readonly stores: GatewayStores;
  /** Grows while the listeners are opened. */
  readonly openListeners: readonly OpenListener[];
  /** Of the current generation; called for requests only, and therefore never before there is one. */
  readonly current: {
    readonly isOwnKey: (token: string) => boolean;
    readonly measured: MetricSources["services"];
    readonly commandContext: () => Config["commandContext"];
    readonly decideForCurrentKeys: ControlPlaneParts["decideForCurrentKeys"];
  };
}

/** @throws CertificateUnusable */
export async function createProcessParts(input: ProcessPartsInput): Promise<ProcessParts> {
  const { config, options, stores, openListeners, current } = input;
  const { settings } = config;
  const certificate = options.offline === undefined ? openListenerCertificate(settings) : undefined;
  const masks = createMasks();
  const echo = hasEmbeddedService(config) ? await createEchoUpstream(masks.all) : undefined;
  const logger = await openLogger(input, masks);
  const instance = createInstance((text) => carriesKey(text, current.isOwnKey));
  const events = new EventFeed({ maskKeys: masks.keys });
  const sources = createEventSources(events);
  const monitor = createPressureMonitor(settings, sources.pressure);
  const tunnels = createTunnels(settings.SEND_TIMEOUT);
  const audit = createAudit(stores.audit, logger, masks.all, sources.change);
  const credentials = openCredentialSources(input, { masks, logger, audit });
  const shared = openSharedStore(settings, logger, options.offline !== undefined);
  const keyParts = openKeyParts(stores, { audit, logger, ...shared }, options);
  const { issuedKeys, spending } = keyParts;
  endWithTheirKeys(issuedKeys, tunnels, events);
  const inFlight = new Slots(settings.MAX_IN_FLIGHT);
  const metrics = openMetrics(input, { tunnels, monitor, instance, inFlight, certificate, ...shared });
  return {
    instance,
    logger,
    monitor,
    events,
    recentExchanges: new RecentExchanges(),
    decideForCurrentKeys: current.decideForCurrentKeys,
    tunnels,
    metrics,
    audit,
    ...keyParts,
    ...shared,
    keyRefusals: createKeyRefusals((fields, words) => logger.warn(fields, words)),
    lockOut: createLockOut(),
    refusedKeys: createRefusedKeys(),
    ...openUpstreamState(stores, settings.MAX_IN_FLIGHT, sources.quota),
    credentials,
    inFlight,
    webSockets: new Slots(settings.MAX_WEBSOCKETS),
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
    signedBodies: new SharedBudget(SIGNED_BODIES_BYTES),
    openWebSockets: () => tunnels.open,
    certificate,
    listeners: () => openListeners.map(describeListener),
    ownListeners: () => options.offline?.listeners ?? openListeners.flatMap(boundAddresses),
    addresses: { isLoopback: config.isLoopback, managementListener: config.managementListener },
    echoSocketPath: echo?.socketPath,
    fingerprint: stores.fingerprint,
    mask: masks.all,
    addSecrets: masks.add,
    stateFolder: stores.folder,
    load: options.load ?? (async () => config),
    cacheClock: options.cacheClock,
    offline: options.offline,
    async close() {
      await Promise.all([echo?.close(), shared.sharedStore?.close()]);
      tunnels.close();
      spending.close();
      issuedKeys.close();
      monitor.close();
      logger.close();
    },
  };
}

/** What a key opened ends with it. */
function endWithTheirKeys(
  issuedKeys: IssuedKeys,
  tunnels: Pick<ProcessParts["tunnels"], "closeOver">,
  events: EventFeed,
): void {
  issuedKeys.onEnd(() => tunnels.closeOver());
  issuedKeys.onEnd((_, digest) => events.recheck(digest));
}

function describeListener({ name, server, service }: OpenListener): BoundListener {
  return { name, service, connections: server.connections, boundTo: server.boundTo };
}

function boundAddresses({ server, service }: OpenListener) {
  return server.boundTo().map(({ address, port }) => ({ address, port, service }));
}

function openMetrics(
  { openListeners, current }: ProcessPartsInput,
  parts: Pick<ProcessParts, "tunnels" | "monitor" | "instance" | "inFlight" | "certificate" | "sharedStore">,
): ProcessParts["metrics"] {
  const { tunnels, monitor, instance, inFlight, certificate, sharedStore } = parts;
  return createMetrics({
    services: current.measured,
    listeners: () => openListeners.map(({ name, server }) => ({ name, connections: server.connections.count })),
    openWebSockets: () => tunnels.open,
    inFlight: () => inFlight.taken,
    pressure: () => ({ sample: monitor.sample, isUnderPressure: monitor.pressure !== undefined }),
    isDraining: () => instance.isDraining,
    certificateEnd: certificate && (() => Date.parse(certificate.current.chain[0].validTo) / 1000),
    sharedStore: sharedStore && (() => sharedStore.describe()),
    version: version.version,
  });
}

function hasEmbeddedService({ services }: Config): boolean {
  return [...services.values()].some((service) => service.embedded);
}

async function openLogger({ config, options, stores }: ProcessPartsInput, masks: Masks): Promise<Logger> {
  const { LOG_LEVEL, LOG_FORMAT, LOGGING_ENABLED, ACCESS_LOG } = config.settings;
  const { logSink } = options;
  const logger = await createLogger({
    level: LOG_LEVEL,
    format: LOG_FORMAT ?? (process.stdout.isTTY ? "pretty" : "json"),
    isEnabled: LOGGING_ENABLED,
    isAccessLogged: ACCESS_LOG,
    mask: masks.all,
    maskKeys: masks.keys,
    ...(logSink === undefined ? {} : { sink: logSink }),
  });
  reportStoreFailures(stores, logger);
  return logger;
}

/** Bodies that are held until their signatures are checked, and then until their requests end. */
const SIGNED_BODIES_BYTES = 64 * 1_048_576;
