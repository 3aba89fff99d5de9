/**
 * The composition root: creates the parts of a gateway, opens its listeners and closes everything.
 * Invariant: all state belongs to what is created here, so that two gateways can run in one process.
 */
import type { Audit } from "./callers/audit.ts";
import type { GatewayOptions } from "./composition/gateway-options.ts";
import { type Generations, startGenerations } from "./composition/generations.ts";
import { createProcessParts, type ProcessParts } from "./composition/process-parts.ts";
import type { ReloadOutcome } from "./composition/reload-outcome.ts";
import { createServicePorts, type OpenListener } from "./composition/service-ports.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import type { ServiceAddress } from "./config/service-addresses.ts";
import type { OfflineState } from "./diagnostics/check.ts";
import type { Diagnostics } from "./diagnostics/diagnostics.ts";
import type { ListenerCertificate } from "./perimeter/listener-certificate.ts";
import { createGatewayServer, type GatewayServer } from "./server.ts";
import type { ServiceItem } from "./services/items.ts";
import { createMemoryStores } from "./stores/open-stores.ts";
import type { Logger } from "./telemetry/logger.ts";
import { maskTexts } from "./telemetry/redact.ts";
import type { UpdateStatus } from "./update-check.ts";

export interface Gateway {
  /** `http://127.0.0.1:3420`. */
  readonly url: string;
  /** All URLs of the first listener: `localhost` is two addresses. */
  readonly urls: readonly string[];
  /** Of the second listener; undefined without one. */
  readonly managementUrl: string | undefined;
  readonly logger: Logger;
  /** The configuration that is served now. */
  readonly config: Config;
  /** The services that are served now: those of the configuration and those that were changed at run time. */
  services(): readonly Service[];
  readonly warnings: readonly string[];
  readonly issuedKeys: Pick<ProcessParts["issuedKeys"], "counts">;
  readonly audit: Audit;
  /** Undefined for plain HTTP. */
  readonly certificate: Pick<ListenerCertificate, "files" | "refresh"> | undefined;
  /** The listener is called each time that the served services or the configuration have changed. */
  onChange(listener: () => void): void;
  /** Reads the configuration again and, if it is valid, serves it from the next request on. */
  reload(): Promise<ReloadOutcome>;
  /** Reads only the token files again. */
  refreshTokens(): Promise<ReloadOutcome>;
  checkForUpdate(): Promise<UpdateStatus>;
  /**
   * A graceful end: for `delayMs` requests are served with `Connection: close`, then the listeners close, then requests in flight
   * have `timeoutMs` to end. Resolves to the number of exchanges that had to be cut.
   */
  drain(delayMs: number, timeoutMs: number): Promise<number>;
  /** Cuts all requests in flight. */
  close(): Promise<void>;
}

interface Composition {
  readonly parts: ProcessParts;
  readonly generations: Generations;
  /** Grows while the listeners are opened. */
  readonly openListeners: OpenListener[];
  onChange(listener: () => void): void;
  /** Resolves to the number of exchanges that had to be cut. */
  closeAll(timeoutMs: number): Promise<number>;
}

/** Creates every part that needs no listener. */
async function compose(config: Config, options: GatewayOptions): Promise<Composition> {
  const stores = options.stores ?? createMemoryStores();
  const openListeners: OpenListener[] = [];
  const changeListeners = new Set<() => void>();
  const parts = await createProcessParts({
    config,
    options,
    stores,
    openListeners,
    current: {
      isOwnKey: (token) => generations.current.isOwnKey(token),
      measured: () => generations.measured(),
      commandContext: () => generations.current.config.commandContext,
      decideForCurrentKeys: (presentation) => generations.current.decideCaller(presentation),
    },
  }).catch(async (error: unknown) => {
    await stores.close();
    throw error;
  });
  const closeParts = async () => {
    await parts.credentials.close();
    await stores.close();
    await parts.close();
  };
  const generations: Generations = await startGenerations({
    config,
    parts,
    stored: stores.services,
    ports: createServicePorts({
      createServer: (address) => createServer({ name: "main", address }, config, parts, generations),
      listeners: openListeners,
      drainMs: () => generations.current.config.settings.SHUTDOWN_TIMEOUT,
      closeTunnels: parts.tunnels.closeOfClients,
      logger: parts.logger,
    }),
    onChange: () => {
      parts.events.recheck();
      for (const listener of changeListeners) listener();
    },
  }).catch(async (error: unknown) => {
    await closeParts();
    throw error;
  });
  return {
    parts,
    generations,
    openListeners,
    onChange: (listener) => void changeListeners.add(listener),
    async closeAll(timeoutMs) {
      parts.tunnels.closeAll();
      parts.events.close();
      const cut = await Promise.all(openListeners.map(({ server }) => server.close(timeoutMs)));
      await generations.close();
      // A change that was under way may have opened another port.
      await Promise.all(openListeners.map(({ server }) => server.close(0)));
      await closeParts();
      return cut.reduce((sum, count) => sum + count, 0);
    },
  };
}

/** @throws ConfigProblems if a stored service does not match the schema, or the error of a listener that cannot be opened. */
export async function openGateway(config: Config, options: GatewayOptions = {}): Promise<Gateway> {
  const { parts, generations, openListeners, onChange, closeAll } = await compose(config, options);
  const urls: (readonly string[])[] = [];
  try {
    for (const { name, host, port } of listenersOf(config)) {
      const server = createServer({ name }, config, parts, generations);
      urls.push(await server.listen(port, host));
      openListeners.push({ name, server });
    }
    await generations.openPorts();
    parts.certificate?.warn(parts.logger);
  } catch (error) {
    await closeAll(0);
    throw error;
  }
  return {
    url: urls[0]?.[0] as string,
    urls: urls[0] as readonly string[],
    managementUrl: urls[1]?.[0],
    logger: parts.logger,
    get config() {
      return generations.current.config;
    },
    services: () => generations.current.registry.list(),
    get warnings() {
      return generations.current.warnings;
    },
    audit: parts.audit,
    certificate: parts.certificate,
    issuedKeys: parts.issuedKeys,
    onChange,
    checkForUpdate: () => generations.current.checkForUpdate(),
    reload: () => generations.reload(),
    refreshTokens: () => generations.refreshTokens(),
    async drain(delayMs, timeoutMs) {
      parts.instance.isDraining = true;
      for (const { server } of openListeners) server.announceEnd();
      generations.drainWaiting(delayMs + timeoutMs * WAITING_SHARE);
      await wait(delayMs);
      // Before WebSockets are closed: their clients reconnect at once.
      await Promise.all(openListeners.map(({ server }) => server.stopListening()));
      return closeAll(timeoutMs);
    },
    async close() {
      await closeAll(0);
    },
  };
}

/** What the checks found without a running gateway, with every secret masked. */
export interface OfflineDiagnosis {
  readonly diagnostics: Diagnostics;
  /** Empty if the configuration is not valid. */
  readonly services: readonly ServiceItem[];
}

/**
 * Runs the checks that need no running gateway: the parts are created, nothing listens, and no line is written to the log.
 * @param config its services are left out if it is not valid, so that a check never contacts an upstream by mistake.
 * @throws ConfigProblems if a stored service does not match the schema.
 */
export async function diagnoseOffline(
  config: Config,
  options: GatewayOptions & { readonly offline: OfflineState },
): Promise<OfflineDiagnosis> {
  const { isValid } = options.offline;
  const served = isValid ? config : { ...config, services: new Map<string, Service>() };
  const logSink = { write() {}, flushSync() {} };
  const { parts, generations, closeAll } = await compose(served, { ...options, logSink });
  try {
    parts.addSecrets(config, config.services.values());
    const diagnostics = await generations.current.diagnose();
    return maskTexts({ diagnostics, services: isValid ? await generations.serviceChanges.list() : [] }, parts.mask);
  } finally {
    await closeAll(0);
  }
}

/** Share of the drain after which no request waits for a quota or a connection: the rest is for its response. */
const WAITING_SHARE = 0.8;

interface Served {
  /** Whose planes the listener serves. */
  readonly name: "main" | "management";
  /** The service that it serves alone. */
  readonly address?: () => ServiceAddress;
}

/** A listener. Each request is served by the generation that is current when it arrives. */
function createServer(
  { name, address }: Served,
  { settings }: Config,
  { instance, logger, metrics, certificate }: ProcessParts,
  generations: Generations,
): GatewayServer {
  return createGatewayServer({
    instance,
    logger,
    metrics,
    cors: { headersOf: (headers) => generations.current.cors.headersOf(headers) },
    times: { keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT, headersTimeoutMs: settings.HEADERS_TIMEOUT },
    limits: {
      all: settings.MAX_CONNECTIONS,
      perAddress: settings.MAX_CONNECTIONS_PER_ADDRESS,
      sendTimeoutMs: settings.SEND_TIMEOUT,
      isTrustedPeer: (address) => generations.current.isTrustedPeer(address),
    },
    // The port of a service is on loopback only, and its clients know no more than a host and a port: it stays plain HTTP.
    tls: address === undefined ? certificate : undefined,
    dataPlane:
      name === "main" ? (req, res, arrival, head) => generations.current.dataPlane(req, res, arrival, head) : undefined,
    // A service's host wins over the port: a browser sends the cookies of the host.
    addressOf({ headers }) {
      const { addresses } = generations.current.served;
      return (addresses.hasHosts ? addresses.find(headers.host) : undefined) ?? address?.();
    },
    controlPlane: (request, env) => generations.current.controlPlanes[name].fetch(request, env),
  });
}

/** One listener for callers and operators, or a second one for operators. */
function listenersOf({ settings, managementListener }: Config) {
  const main = { name: "main", host: settings.HOST, port: settings.PORT } as const;
  return managementListener === undefined ? [main] : [main, { name: "management", ...managementListener } as const];
}

/** Unreferenced: while there are connections, they keep the process running. */
function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
