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
import type { Audience } from "./control-plane/parts.ts";
import type { TransportOptions } from "./data-plane/forward/transport.ts";
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
  readonly name: "main" | "management";
  readonly server: GatewayServer;
  readonly url: string;
}

export async function openGateway(config: Config, options: GatewayOptions = {}): Promise<Gateway> {
  const { settings } = config;
  const mask = createSecretMask(secretsOf(config));
  const logger = await openLogger(config, mask, options.logSink);
  const callers = createCallers(config);
  const instance = createInstance((text) => carriesKey(text, callers.isOwnKey));
  const clients = createClientView(settings, callers.isProtected("proxy"));
  const cors = createCors(settings);
  const registry = createRegistry(config.services);
  const echo = [...config.services.values()].some((service) => service.embedded)
    ? await createEchoUpstream(mask)
    : undefined;
  const prepared = prepareAll(config, echo);
  const loadOf = (key: string) => prepared.get(key) as PreparedService;
  const guardOpenPlane = createOpenPlaneGuard(config, "PROXY_API_KEY");
  const monitor = createPressureMonitor(settings);
  const inFlight = new Slots(settings.MAX_IN_FLIGHT);
  const retryAfterS = settings.PRESSURE_RETRY_AFTER;
  const tunnels = createTunnels();
  const openWebSockets = () => tunnels.open;
  const open: OpenListener[] = [];
  const listeners = () => open.map(({ name, server }) => ({ name, connections: server.connections }));
  const metrics = createMetrics({
    services: () => [...prepared].map(([key, { slots }]) => ({ key, inFlight: slots.taken })),
    listeners: () => listeners().map(({ name, connections }) => ({ name, connections: connections.count })),
    openWebSockets,
    pressure: () => ({ sample: monitor.sample, isUnderPressure: monitor.pressure !== undefined }),
    isDraining: () => instance.isDraining,
    version: version.version,
  });

  const shared = { instance, clients, callers, cors, registry, logger, metrics, monitor, inFlight, retryAfterS };
  const dataPlane = createPipeline({ ...shared, tunnels, guardOpenPlane, findPrepared: (key) => prepared.get(key) });
  const controlPlaneParts = {
    ...{ ...shared, loadOf, listeners, openWebSockets },
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "MANAGEMENT_API_KEY"),
  };

  const listen = async (name: OpenListener["name"], port: number, host: string, audience: Audience) => {
    const server = createGatewayServer({
      ...{ instance, cors, logger, metrics },
      keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT,
      maxConnections: settings.MAX_CONNECTIONS,
      dataPlane: audience.callers ? dataPlane : undefined,
      controlPlane: createControlPlane(controlPlaneParts, audience).fetch,
    });
    const url = await server.listen(port, host);
    open.push({ name, server, url });
    return url;
  };
  const closeAll = async (timeoutMs: number) => {
    tunnels.goAway();
    const cut = await Promise.all(open.map(({ server }) => server.close(timeoutMs)));
    await Promise.all([...prepared.values()].map(({ transport }) => transport.close()));
    await echo?.close();
    monitor.close();
    logger.close();
    return cut.reduce((sum, count) => sum + count, 0);
  };

  try {
    const { managementListener: second } = config;
    const hosts = (isLoopback: boolean) => guardedHosts(config, isLoopback);
    const url = await listen("main", settings.PORT, settings.HOST, {
      callers: true,
      operators: second === undefined,
      hosts: hosts(config.isLoopback),
    });
    const managementUrl =
      second &&
      (await listen("management", second.port, second.host, {
        callers: false,
        operators: true,
        hosts: hosts(second.isLoopback),
      }));
    return {
      url,
      managementUrl,
      logger,
      async drain(delayMs, timeoutMs) {
        instance.isDraining = true;
        await wait(delayMs);
        return closeAll(timeoutMs);
      },
      async close() {
        await closeAll(0);
      },
    };
  } catch (error) {
    await closeAll(0);
    throw error;
  }
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

function prepareAll({ services, settings }: Config, echo: EchoUpstream | undefined): Map<string, PreparedService> {
  const prepared = new Map<string, PreparedService>();
  for (const service of services.values()) {
    const socketPath = service.embedded ? echo?.socketPath : undefined;
    const connection = connectionTo(service, settings.STRICT_TLS, socketPath);
    prepared.set(service.key, prepareService(service, createLimiter(service), connection));
  }
  return prepared;
}

function connectionTo(service: Service, isTlsStrict: boolean, socketPath: string | undefined): TransportOptions {
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
