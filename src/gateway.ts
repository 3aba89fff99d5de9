/**
 * The composition root: builds every part once, wires them, closes them.
 * Invariant: no state outside what is made here, so that two gateways can live in one process.
 */
import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createCallers } from "./callers/callers.ts";
import { carriesKey } from "./callers/presented-keys.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import { createControlPlane } from "./control-plane/app.ts";
import { createTransport, type Transport } from "./data-plane/forward/transport.ts";
import { createPipeline } from "./data-plane/pipeline.ts";
import { type PreparedService, prepareService } from "./data-plane/prepared-service.ts";
import { createEchoUpstream, type EchoUpstream } from "./echo-upstream.ts";
import { createLimiter } from "./limits/limiters.ts";
import { createClientView } from "./perimeter/client-view.ts";
import { createCors } from "./perimeter/cors.ts";
import { createInstance } from "./perimeter/instance.ts";
import { createOpenPlaneGuard } from "./perimeter/open-plane.ts";
import { createPressureMonitor } from "./pressure/monitor.ts";
import { Slots } from "./pressure/slots.ts";
import { createRegistry } from "./registry/registry.ts";
import { createGatewayServer, type GatewayServer } from "./server.ts";
import { createLogger, type LineSink, type Logger } from "./telemetry/logger.ts";
import { createSecretMask, type SecretMask } from "./telemetry/redact.ts";

export interface Gateway {
  /** `http://127.0.0.1:3420`. */
  readonly url: string;
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

/** How often connections that have become idle are closed while draining, ms. */
const IDLE_SWEEP_MS = 20;

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
  const findPrepared = (key: string) => prepared.get(key);
  const guardOpenPlane = createOpenPlaneGuard(config, "PROXY_API_KEY");

  const monitor = createPressureMonitor(settings);
  const inFlight = new Slots(settings.MAX_IN_FLIGHT);

  const pipeline = createPipeline({
    ...{ instance, clients, callers, cors, guardOpenPlane, registry, findPrepared, logger, monitor, inFlight },
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
  });
  const controlPlane = createControlPlane({
    instance,
    callers,
    clients,
    cors,
    registry,
    monitor,
    retryAfterS: settings.PRESSURE_RETRY_AFTER,
    limiterOf: (key) => findPrepared(key)?.limiter,
    logger,
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "MANAGEMENT_API_KEY"),
  });
  const server = createGatewayServer({
    instance,
    cors,
    logger,
    keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT,
    maxConnections: settings.MAX_CONNECTIONS,
    dataPlane: pipeline,
    controlPlane: controlPlane.fetch,
  });

  const closeParts = async () => {
    await Promise.all([...prepared.values()].map(({ transport }) => transport.close()));
    await echo?.close();
    monitor.close();
    logger.close();
  };
  try {
    await listen(server.http, settings.PORT, settings.HOST);
  } catch (error) {
    await closeParts();
    throw error;
  }

  return {
    url: urlOf(server.http.address() as AddressInfo, settings.HOST),
    logger,
    async drain(delayMs, timeoutMs) {
      instance.isDraining = true;
      await wait(delayMs);
      const cut = await closeServer(server, timeoutMs);
      await closeParts();
      return cut;
    },
    async close() {
      await closeServer(server, 0);
      await closeParts();
    },
  };
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

/** Ends the listener and, within `timeoutMs`, what is in flight. Resolves to the number of connections that had to be cut. */
async function closeServer({ http, connections }: GatewayServer, timeoutMs: number): Promise<number> {
  const closed = new Promise<void>((resolve) => http.close(() => resolve()));
  // close() ends connections that are idle now; those that still answer become idle later and would be kept.
  const sweep = setInterval(() => connections.closeIdle(), IDLE_SWEEP_MS);
  const cut = await Promise.race([closed.then(() => 0), wait(timeoutMs).then(() => connections.count)]);
  clearInterval(sweep);
  connections.destroyAll();
  await closed;
  return cut;
}

function prepareAll({ services, settings }: Config, echo: EchoUpstream | undefined): Map<string, PreparedService> {
  const prepared = new Map<string, PreparedService>();
  for (const service of services.values()) {
    const transport = openTransport(service, settings.STRICT_TLS, service.embedded ? echo?.socketPath : undefined);
    prepared.set(service.key, prepareService(service, createLimiter(service), transport));
  }
  return prepared;
}

function openTransport(service: Service, isTlsStrict: boolean, socketPath: string | undefined): Transport {
  const { caFile, certFile, keyFile, strict } = service.tls;
  return createTransport({
    service,
    isTlsStrict: strict ?? isTlsStrict,
    pem: {
      ...(caFile === undefined ? {} : { ca: readFileSync(caFile, "utf8") }),
      ...(certFile === undefined ? {} : { cert: readFileSync(certFile, "utf8") }),
      ...(keyFile === undefined ? {} : { key: readFileSync(keyFile, "utf8") }),
    },
    socketPath,
  });
}

function ownKeysOf({ proxyPlane, managementPlane }: Config): string[] {
  return [proxyPlane.key, managementPlane.key].flatMap((key) => key?.reveal() ?? []);
}

function secretsOf(config: Config): string[] {
  const credentials = [...config.services.values()].flatMap(({ credential }) => credential?.secret?.reveal() ?? []);
  return [...credentials, ...ownKeysOf(config)];
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function urlOf({ port }: AddressInfo, host: string): string {
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Unreferenced: while there is anything to wait for, its sockets keep the process. */
function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
