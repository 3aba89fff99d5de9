/**
 * The composition root: builds every part once, wires them, closes them.
 * Invariant: no state outside what is made here, so that two gateways can live in one process.
 */
import { readFileSync } from "node:fs";
import { createCallers } from "./callers/callers.ts";
import { carriesKey } from "./callers/presented-keys.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import { createControlPlane } from "./control-plane/app.ts";
import type { Audience, Listener } from "./control-plane/parts.ts";
import type { DialOptions, EgressPolicy } from "./data-plane/forward/egress.ts";
import { createTunnels } from "./data-plane/forward/tunnel.ts";
import { createPipeline } from "./data-plane/pipeline.ts";
import { type PreparedService, prepareService } from "./data-plane/prepared-service.ts";
import { createEchoUpstream, type EchoUpstream } from "./echo-upstream.ts";
import { createLimiter } from "./limits/limiters.ts";
import { createClientView } from "./perimeter/client-view.ts";
import { createCors } from "./perimeter/cors.ts";
import { createInstance } from "./perimeter/instance.ts";
import { createHostList, createOpenPlaneGuard } from "./perimeter/open-plane.ts";
import { createPressureMonitor } from "./pressure/monitor.ts";
import { Slots } from "./pressure/slots.ts";
import { createRegistry } from "./registry/registry.ts";
import { createGatewayServer, type GatewayServer } from "./server.ts";
import { createLogger, type LineSink, type Logger } from "./telemetry/logger.ts";
import { createMetrics } from "./telemetry/metrics.ts";
import { createSecretMask, type SecretMask } from "./telemetry/redact.ts";
import { version } from "./version.ts";

export interface Gateway {
  /** `http://127.0.0.1:3420`. */
  readonly url: string;
  /** Of the second listener, where there is one. */
  readonly managementUrl: string | undefined;
  readonly logger: Logger;
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
}

/** A listener that is open. */
interface OpenListener {
  readonly name: Listener["name"];
  readonly server: GatewayServer;
}

export async function openGateway(config: Config, options: GatewayOptions = {}): Promise<Gateway> {
  const open: OpenListener[] = [];
  const parts = await buildParts(config, options, () => open.flatMap(({ server }) => server.boundTo() ?? []));
  const planes = wirePlanes(config, parts, () =>
    open.map(({ name, server }) => ({ name, connections: server.connections })),
  );
  const closeAll = async (timeoutMs: number) => {
    parts.tunnels.goAway();
    const cut = await Promise.all(open.map(({ server }) => server.close(timeoutMs)));
    await closeParts(parts);
    return cut.reduce((sum, count) => sum + count, 0);
  };

  const urls: string[] = [];
  try {
    for (const { name, host, port, audience } of listenersOf(config)) {
      const server = planes.createServer(audience);
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
    logger: parts.logger,
    async drain(delayMs, timeoutMs) {
      parts.instance.isDraining = true;
      await wait(delayMs);
      return closeAll(timeoutMs);
    },
    async close() {
      await closeAll(0);
    },
  };
}

type OwnListeners = EgressPolicy["ownListeners"];
type Parts = Awaited<ReturnType<typeof buildParts>>;

async function buildParts(config: Config, { logSink }: GatewayOptions, ownListeners: OwnListeners) {
  const { settings } = config;
  const mask = createSecretMask(secretsOf(config));
  const callers = createCallers(config);
  const hasEmbedded = [...config.services.values()].some((service) => service.embedded);
  const echo = hasEmbedded ? await createEchoUpstream(mask) : undefined;
  return {
    logger: await openLogger(config, mask, logSink),
    callers,
    instance: createInstance((text) => carriesKey(text, callers.isOwnKey)),
    clients: createClientView(settings, callers.isProtected("proxy")),
    cors: createCors(settings),
    registry: createRegistry(config.services),
    monitor: createPressureMonitor(settings),
    inFlight: new Slots(settings.MAX_IN_FLIGHT),
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
    tunnels: createTunnels(),
    prepared: prepareAll(config, ownListeners, echo),
    echo,
  };
}

async function closeParts({ prepared, echo, monitor, logger }: Parts): Promise<void> {
  await Promise.all([...prepared.values()].map(({ transport }) => transport.close()));
  await echo?.close();
  monitor.close();
  logger.close();
}

/** The two planes, and the servers that fork between them. */
function wirePlanes(config: Config, parts: Parts, listeners: () => Listener[]) {
  const { instance, cors, logger, monitor, prepared, tunnels } = parts;
  const openWebSockets = () => tunnels.open;
  const metrics = createMetrics({
    services: () => [...prepared].map(([key, { slots }]) => ({ key, inFlight: slots.taken })),
    listeners: () => listeners().map(({ name, connections }) => ({ name, connections: connections.count })),
    openWebSockets,
    pressure: () => ({ sample: monitor.sample, isUnderPressure: monitor.pressure !== undefined }),
    isDraining: () => instance.isDraining,
    version: version.version,
  });
  const guardOpenPlane = createOpenPlaneGuard(config, "PROXY_API_KEY");
  const dataPlane = createPipeline({ ...parts, metrics, guardOpenPlane, findPrepared: (key) => prepared.get(key) });
  const controlPlaneParts = {
    ...{ ...parts, metrics, listeners, openWebSockets },
    loadOf: (key: string) => prepared.get(key) as PreparedService,
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "MANAGEMENT_API_KEY"),
  };
  return {
    createServer: (audience: Audience) =>
      createGatewayServer({
        ...{ instance, cors, logger, metrics },
        keepAliveTimeoutMs: config.settings.KEEP_ALIVE_TIMEOUT,
        maxConnections: config.settings.MAX_CONNECTIONS,
        dataPlane: audience.callers ? dataPlane : undefined,
        controlPlane: createControlPlane(controlPlaneParts, audience).fetch,
      }),
  };
}

/** One listener for all, or a second one for the operators. */
function listenersOf(config: Config): { name: Listener["name"]; host: string; port: number; audience: Audience }[] {
  const { settings, isLoopback, managementListener: second } = config;
  const main = { callers: true, operators: second === undefined, hosts: guardedHosts(config, isLoopback) };
  const listeners = [{ name: "main" as const, host: settings.HOST, port: settings.PORT, audience: main }];
  if (second === undefined) return listeners;
  const operators = { callers: false, operators: true, hosts: guardedHosts(config, second.isLoopback) };
  return [...listeners, { name: "management", host: second.host, port: second.port, audience: operators }];
}

/** Names by which what needs no key may be asked for: any, once the address is the world's and the plane has its key. */
function guardedHosts({ settings, managementPlane }: Config, isLoopback: boolean) {
  return isLoopback || !managementPlane.isProtected ? createHostList(settings.ALLOWED_HOSTS) : undefined;
}

function openLogger(config: Config, mask: SecretMask, sink: LineSink | undefined): Promise<Logger> {
  const { LOG_LEVEL, LOG_FORMAT, LOGGING_ENABLED, ACCESS_LOG } = config.settings;
  return createLogger({
    level: LOG_LEVEL,
    format: LOG_FORMAT ?? (process.stdout.isTTY ? "pretty" : "json"),
    isEnabled: LOGGING_ENABLED,
    isAccessLogged: ACCESS_LOG,
    mask,
    maskKeys: createSecretMask(ownKeysOf(config)),
    ...(sink === undefined ? {} : { sink }),
  });
}

function prepareAll(config: Config, ownListeners: OwnListeners, echo?: EchoUpstream): Map<string, PreparedService> {
  const { services, settings } = config;
  const egress = { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? true, ownListeners };
  const prepared = new Map<string, PreparedService>();
  for (const service of services.values()) {
    const socketPath = service.embedded ? echo?.socketPath : undefined;
    const dialOptions = dialOptionsOf(service, settings.STRICT_TLS, egress, socketPath);
    prepared.set(service.key, prepareService(service, createLimiter(service), dialOptions));
  }
  return prepared;
}

function dialOptionsOf(service: Service, isTlsStrict: boolean, egress: EgressPolicy, socketPath?: string): DialOptions {
  const { caFile, certFile, keyFile, strict } = service.tls;
  return {
    service,
    isTlsStrict: strict ?? isTlsStrict,
    pem: {
      ...(caFile === undefined ? {} : { ca: readFileSync(caFile, "utf8") }),
      ...(certFile === undefined ? {} : { cert: readFileSync(certFile, "utf8") }),
      ...(keyFile === undefined ? {} : { key: readFileSync(keyFile, "utf8") }),
    },
    socketPath,
    egress,
  };
}

function ownKeysOf({ proxyPlane, managementPlane }: Config): string[] {
  return [proxyPlane.key, managementPlane.key].flatMap((key) => key?.reveal() ?? []);
}

function secretsOf(config: Config): string[] {
  const credentials = [...config.services.values()].flatMap(({ credential }) => credential?.secret?.reveal() ?? []);
  return [...credentials, ...ownKeysOf(config)];
}

/** Unreferenced: while there is anything to wait for, its sockets keep the process. */
function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
