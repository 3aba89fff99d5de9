/**
 * The composition root: builds every part once, wires them, closes them.
 * Invariant: no state outside what is made here, so that two gateways can live in one process.
 */
import { createIssuedKeys } from "./callers/issued-keys.ts";
import { createLockOut } from "./callers/lock-out.ts";
import { carriesKey } from "./callers/presented-keys.ts";
import type { StoredKey } from "./callers/stored-key.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import type { Listener } from "./control-plane/parts.ts";
import { createTunnels } from "./data-plane/forward/tunnel.ts";
import { createQuotaContext } from "./data-plane/quota/service-quota.ts";
import { createEchoUpstream } from "./echo-upstream.ts";
import type { LastingParts } from "./generation.ts";
import { createGenerations, type Generations } from "./generations.ts";
import { createKeyLimits } from "./limits/key-limits.ts";
import { createInstance } from "./perimeter/instance.ts";
import { createPressureMonitor } from "./pressure/monitor.ts";
import { Slots } from "./pressure/slots.ts";
import { type Audit, type AuditEntry, createAudit } from "./registry/audit.ts";
import type { ReloadOutcome } from "./registry/reload-outcome.ts";
import { createServiceChanges } from "./registry/service-changes.ts";
import type { StoredService } from "./registry/stored-service.ts";
import { createGatewayServer, type GatewayServer } from "./server.ts";
import { createMemoryStores, type Stores } from "./stores/open-stores.ts";
import { createLogger, type LineSink, type Logger } from "./telemetry/logger.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { createGrowingMask, type SecretMask } from "./telemetry/redact.ts";
import type { UpdateStatus } from "./update-check.ts";
import { findForbidden } from "./upstreams.ts";
import { version } from "./version.ts";

export interface Gateway {
  /** `http://127.0.0.1:3420`. */
  readonly url: string;
  /** Of the second listener, where there is one. */
  readonly managementUrl: string | undefined;
  readonly logger: Logger;
  /** The one that is served by now. */
  readonly config: Config;
  /** What is served now: the configuration's services, and what was changed at run time. */
  services(): readonly Service[];
  readonly warnings: readonly string[];
  readonly issuedKeys: Pick<LastingParts["issuedKeys"], "counts">;
  readonly audit: Audit;
  /** Told each time that what is served has changed. */
  onChange(listener: () => void): void;
  /** Reads the configuration anew and, if it is sound, serves by it from the next request on. */
  reload(): Promise<ReloadOutcome>;
  /** The same for the token files alone. */
  refreshTokens(): Promise<ReloadOutcome>;
  checkForUpdate(): Promise<UpdateStatus>;
  /**
   * Ends well: `delayMs` still served with `Connection: close`, then the listener closes, then what is in flight has
   * `timeoutMs` to end. Resolves to the number of exchanges that had to be cut.
   */
  drain(delayMs: number, timeoutMs: number): Promise<number>;
  /** Ends at once. */
  close(): Promise<void>;
}

export interface GatewayOptions {
  /** Takes the log's lines instead of stdout. */
  readonly logSink?: LineSink;
  /** Reads the configuration again, for a reload. @throws ConfigProblems */
  readonly load?: () => Config;
  /** Where changes are kept; in memory when left out. They are closed with the gateway. */
  readonly stores?: GatewayStores;
}

export type GatewayStores = Stores<StoredService, AuditEntry, StoredKey>;

/** A listener that is open. */
interface OpenListener {
  readonly name: Listener["name"];
  readonly server: GatewayServer;
}

/** @throws ConfigProblems when a stored service is none any more, or what kept a listener from opening. */
export async function openGateway(config: Config, options: GatewayOptions = {}): Promise<Gateway> {
  const stores = options.stores ?? createMemoryStores();
  const open: OpenListener[] = [];
  const listeners = new Set<() => void>();
  const masks = createMasks();
  const generations = createGenerations({
    config,
    load: options.load ?? (() => config),
    stored: stores.services,
    onSecrets: masks.add,
    onChange: () => {
      for (const listener of listeners) listener();
    },
  });
  const lasting = await buildLastingParts({ config, options, stores, masks, open, generations });
  const closeAll = async (timeoutMs: number) => {
    lasting.tunnels.goAway();
    const cut = await Promise.all(open.map(({ server }) => server.close(timeoutMs)));
    await generations.close();
    await stores.close();
    await lasting.close();
    return cut.reduce((sum, count) => sum + count, 0);
  };
  const urls: string[] = [];
  try {
    generations.start(lasting);
    for (const { name, host, port } of listenersOf(config)) {
      const server = createServer(name, config, lasting, generations);
      urls.push(await server.listen(port, host));
      open.push({ name, server });
    }
  } catch (error) {
    await closeAll(0);
    throw error;
  }
  return {
    url: urls[0] as string,
    managementUrl: urls[1],
    logger: lasting.logger,
    get config() {
      return generations.current.config;
    },
    services: () => [...generations.current.upstreams.values()].map(({ service }) => service),
    get warnings() {
      return generations.current.warnings;
    },
    ...{ audit: lasting.audit, issuedKeys: lasting.issuedKeys },
    onChange: (listener) => void listeners.add(listener),
    checkForUpdate: () => generations.current.checkForUpdate(),
    reload: generations.reload,
    refreshTokens: generations.refreshTokens,
    async drain(delayMs, timeoutMs) {
      lasting.instance.isDraining = true;
      generations.drainQuotas(Date.now() + delayMs + timeoutMs * WAITING_SHARE);
      await wait(delayMs);
      return closeAll(timeoutMs);
    },
    async close() {
      await closeAll(0);
    },
  };
}

/** Of the time to end: whoever waits for a quota until then has the rest of it to be served, or told that it is not. */
const WAITING_SHARE = 0.8;

type LastingPartsAndClose = LastingParts & { close(): Promise<void> };

interface LastingPartsInput {
  readonly config: Config;
  readonly options: GatewayOptions;
  readonly stores: GatewayStores;
  readonly masks: Masks;
  readonly open: readonly OpenListener[];
  readonly generations: Generations;
}

async function buildLastingParts(input: LastingPartsInput): Promise<LastingPartsAndClose> {
  const { config, options, stores, masks, open, generations } = input;
  const { settings } = config;
  const hasEmbedded = [...config.services.values()].some((service) => service.embedded);
  const echo = hasEmbedded ? await createEchoUpstream(masks.all) : undefined;
  const instance = createInstance((text) => carriesKey(text, generations.current.isOwnKey));
  const logger = await openLogger(config, masks, options.logSink);
  const monitor = createPressureMonitor(settings);
  const tunnels = createTunnels();
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
    logger.warn(`${damagedLines} lines of the audit could not be read; audit.jsonl.damaged has them`);
  stores.onWriteFailure = (error) =>
    logger.error({ err: error }, "what is known of quotas, or of the use of keys, could not be written");
  const quota = createQuotaContext(stores.quota, stores.fingerprint, settings.MAX_IN_FLIGHT);
  const issuedKeys = createIssuedKeys({ records: stores.keys, usage: stores.keyUsage });
  issuedKeys.onEnd((_, digest) => tunnels.endThoseOfKey(digest));
  const ownListeners = () => open.flatMap(({ server }) => server.boundTo() ?? []);
  const serviceChanges = createServiceChanges({
    config: () => generations.current.config,
    registry: () => generations.current.registry,
    stored: stores.services,
    inTurn: generations.inTurn,
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
      ownListeners,
    },
    ...{ fingerprint: stores.fingerprint, mask: masks.all, stateFolder: stores.folder },
    load: options.load ?? (() => config),
    ...{ keyUsage: stores.keyUsage, lockOut: createLockOut(), keyLimits: createKeyLimits() },
    addresses: { isLoopback: config.isLoopback, managementListener: config.managementListener },
    inFlight: new Slots(settings.MAX_IN_FLIGHT),
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
    echoSocketPath: echo?.socketPath,
    reload: generations.reload,
    async close() {
      await echo?.close();
      issuedKeys.close();
      monitor.close();
      logger.close();
    },
  };
}

/** A listener with the fork between the two planes of the generation that is current when a request comes in. */
function createServer(
  name: Listener["name"],
  { settings }: Config,
  lasting: LastingParts,
  generations: Generations,
): GatewayServer {
  return createGatewayServer({
    ...{ instance: lasting.instance, logger: lasting.logger, metrics: lasting.metrics },
    cors: { headersOf: (headers) => generations.current.cors.headersOf(headers) },
    keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT,
    maxConnections: settings.MAX_CONNECTIONS,
    dataPlane:
      name === "main"
        ? (req, res, connections, head) => generations.current.dataPlane(req, res, connections, head)
        : undefined,
    controlPlane: (request, env) => generations.current.controlPlanes[name].fetch(request, env),
  });
}

/** One listener for all, or a second one for the operators. */
function listenersOf({ settings, managementListener }: Config) {
  const main = { name: "main", host: settings.HOST, port: settings.PORT } as const;
  return managementListener === undefined ? [main] : [main, { name: "management", ...managementListener } as const];
}

interface Masks {
  /** Replaces every secret that was ever configured: an exchange of the generation before may still be under way. */
  readonly all: SecretMask;
  /** The gateway's own keys only. */
  readonly keys: SecretMask;
  readonly add: (config: Config, services: Iterable<Service>) => void;
}

function createMasks(): Masks {
  const all = createGrowingMask();
  const keys = createGrowingMask();
  return {
    all: all.mask,
    keys: keys.mask,
    add(config, services) {
      const own = ownKeysOf(config);
      keys.add(own);
      all.add([...own, ...[...services].flatMap(({ credential }) => credential?.secret?.reveal() ?? [])]);
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

function ownKeysOf({ proxyPlane, managementPlane }: Config): string[] {
  return [proxyPlane.key, managementPlane.key].flatMap((key) => key?.reveal() ?? []);
}

/** Unreferenced: while there is anything to wait for, its sockets keep the process. */
function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
