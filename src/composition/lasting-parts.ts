/**
 * What outlives every configuration: made once, handed to each generation, closed with the gateway.
 * Invariant: whatever is stateful and belongs to no service is made here, and nowhere else.
 */

import { type AuditEntry, createAudit } from "../callers/audit.ts";
import type { StoredKey } from "../callers/issued-key.ts";
import { createIssuedKeys } from "../callers/issued-keys.ts";
import { createKeyChanges } from "../callers/key-changes.ts";
import { createKeyRefusals } from "../callers/key-refusals.ts";
import { createLockOut } from "../callers/lock-out.ts";
import { carriesKey } from "../callers/presented-keys.ts";
import type { Config, LoadConfig } from "../config/load-config.ts";
import type { Listener } from "../control-plane/parts.ts";
import { createTunnels } from "../data-plane/forward/tunnel.ts";
import { createQuotaContext } from "../data-plane/quota/service-quota.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import { createEchoUpstream } from "../echo-upstream.ts";
import { createKeyLimits } from "../limits/limiters.ts";
import { createInstance } from "../perimeter/instance.ts";
import { plural } from "../plural.ts";
import { createPressureMonitor } from "../pressure/monitor.ts";
import { Slots } from "../pressure/slots.ts";
import type { GatewayServer } from "../server.ts";
import { createServiceChanges } from "../services/changes.ts";
import type { StoredService } from "../services/stored-services.ts";
import type { Stores } from "../stores/open-stores.ts";
import { createLogger, type LineSink, type Logger } from "../telemetry/logger.ts";
import { createMetrics } from "../telemetry/metrics.ts";
import { version } from "../version.ts";
import type { LastingParts } from "./generation.ts";
import type { Generations } from "./generations.ts";
import type { Masks } from "./masks.ts";
import { findForbidden } from "./upstreams.ts";

export interface GatewayOptions {
  /** Takes the log's lines instead of stdout. */
  readonly logSink?: LineSink;
  /** Reads the configuration again, for a reload. @throws ConfigProblems */
  readonly load?: LoadConfig;
  /** Where changes are kept; in memory when left out. They are closed with the gateway. */
  readonly stores?: GatewayStores;
  /** For parts that are built to be looked at, and never listen. */
  readonly offline?: OfflineState;
}

export type GatewayStores = Stores<StoredService, AuditEntry, StoredKey>;

/** A listener that is open. */
export interface OpenListener {
  readonly name: Listener["name"];
  readonly server: GatewayServer;
}

/** As the audit shows what nobody asked for. */
const BY_ITSELF = { caller: "gateway", address: "", requestId: "" };

type LastingPartsAndClose = LastingParts & { close(): Promise<void> };

export interface LastingPartsInput {
  readonly config: Config;
  readonly options: GatewayOptions;
  readonly stores: GatewayStores;
  readonly masks: Masks;
  readonly open: readonly OpenListener[];
  readonly generations: Generations;
}

export async function buildLastingParts(input: LastingPartsInput): Promise<LastingPartsAndClose> {
  const { config, options, stores, masks, open, generations } = input;
  const { settings } = config;
  const hasEmbedded = [...config.services.values()].some((service) => service.embedded);
  const echo = hasEmbedded ? await createEchoUpstream(masks.all) : undefined;
  const instance = createInstance((text) => carriesKey(text, generations.current.isOwnKey));
  const logger = await openLogger(config, masks, options.logSink);
  const monitor = createPressureMonitor(settings);
  const tunnels = createTunnels(settings.SEND_TIMEOUT);
  const listeners = () =>
    open.map(({ name, server }) => ({ name, connections: server.connections, boundTo: server.boundTo }));
  const openWebSockets = () => tunnels.open;
  const metrics = createMetrics({
    services: () => generations.measured(),
    listeners: () => listeners().map(({ name, connections }) => ({ name, connections: connections.count })),
    openWebSockets,
    pressure: () => ({ sample: monitor.sample, isUnderPressure: monitor.pressure !== undefined }),
    isDraining: () => instance.isDraining,
    version: version.version,
  });
  const audit = createAudit(stores.audit, logger, masks.all);
  const { damagedLines } = stores.audit;
  if (damagedLines > 0)
    logger.warn(
      `${plural(damagedLines, "line")} of the audit log could not be read; audit.jsonl.damaged contains the unreadable part`,
    );
  stores.onWriteFailure = (error) =>
    logger.error({ err: error }, "what is known of quotas, or of the use of keys, could not be written");
  const quota = createQuotaContext({
    ledger: stores.quota,
    fingerprint: stores.fingerprint,
    showCredential: ({ credential }) => {
      const secret = credential?.secret?.reveal();
      const fingerprint = secret === undefined ? null : stores.fingerprint.credential(secret);
      return { source: credential?.source ?? null, fingerprint };
    },
    maxInFlight: settings.MAX_IN_FLIGHT,
  });
  const issuedKeys = createIssuedKeys({
    ...{ records: stores.keys, usage: stores.keyUsage },
    onDeleted: (subject) => void audit.record(BY_ITSELF, { action: "key.forget", subject }),
  });
  issuedKeys.onEnd((_, digest) => tunnels.endThoseOfKey(digest));
  const ownListeners = () => options.offline?.listeners ?? open.flatMap(({ server }) => server.boundTo() ?? []);
  const serviceChanges = createServiceChanges({
    config: () => generations.current.config,
    registry: () => generations.current.registry,
    stored: stores.services,
    runExclusive: generations.runExclusive,
    findForbidden: (service) => findForbidden(service, { settings: generations.current.config.settings, ownListeners }),
    ...{ audit, fingerprint: stores.fingerprint },
  });
  return {
    ...{
      instance,
      logger,
      monitor,
      tunnels,
      metrics,
      quota,
      issuedKeys,
      listeners,
      openWebSockets,
      audit,
      serviceChanges,
      keyChanges: createKeyChanges(issuedKeys, audit),
      ownListeners,
    },
    ...{ fingerprint: stores.fingerprint, mask: masks.all, stateFolder: stores.folder },
    ...{ load: options.load ?? (async () => config), offline: options.offline },
    ...{ keyUsage: stores.keyUsage, lockOut: createLockOut(), keyLimits: createKeyLimits() },
    keyRefusals: createKeyRefusals((fields, words) => logger.warn(fields, words)),
    addresses: { isLoopback: config.isLoopback, managementListener: config.managementListener },
    inFlight: new Slots(settings.MAX_IN_FLIGHT),
    webSockets: new Slots(settings.MAX_WEBSOCKETS),
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
    echoSocketPath: echo?.socketPath,
    reload: generations.reload,
    async close() {
      await echo?.close();
      tunnels.close();
      issuedKeys.close();
      monitor.close();
      logger.close();
    },
  };
}

function openLogger(config: Config, masks: Masks, sink: LineSink | undefined): Promise<Logger> {
  const { LOG_LEVEL, LOG_FORMAT, LOGGING_ENABLED, ACCESS_LOG } = config.settings;
  return createLogger({
    level: LOG_LEVEL,
    format: LOG_FORMAT ?? (process.stdout.isTTY ? "pretty" : "json"),
    isEnabled: LOGGING_ENABLED,
    isAccessLogged: ACCESS_LOG,
    mask: masks.all,
    maskKeys: masks.keys,
    ...(sink === undefined ? {} : { sink }),
  });
}
