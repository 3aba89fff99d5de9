/**
 * The composition root: builds every part once, wires them, closes them.
 * Invariant: no state outside what is made here, so that two gateways can live in one process.
 */

import type { Audit } from "./callers/audit.ts";
import type { LastingParts } from "./composition/generation.ts";
import { createGenerations, type Generations } from "./composition/generations.ts";
import { buildLastingParts, type GatewayOptions, type OpenListener } from "./composition/lasting-parts.ts";
import { createMasks, type Masks } from "./composition/masks.ts";
import type { ReloadOutcome } from "./composition/reload-outcome.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import type { Listener } from "./control-plane/parts.ts";
import type { OfflineState } from "./diagnostics/check.ts";
import type { Diagnostics } from "./diagnostics/diagnostics.ts";
import { createGatewayServer, type GatewayServer } from "./server.ts";
import type { ServiceItem } from "./services/items.ts";
import { createMemoryStores } from "./stores/open-stores.ts";
import type { Logger } from "./telemetry/logger.ts";
import { maskTexts } from "./telemetry/redact.ts";
import type { UpdateStatus } from "./update-check.ts";

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

interface Composition {
  readonly lasting: LastingParts;
  readonly generations: Generations;
  readonly masks: Masks;
  /** Taken up as they are opened. */
  readonly open: OpenListener[];
  onChange(listener: () => void): void;
  /** Resolves to the number of exchanges that had to be cut. */
  closeAll(timeoutMs: number): Promise<number>;
}

/** Every part, wired, and not yet at work. */
async function compose(config: Config, options: GatewayOptions): Promise<Composition> {
  const stores = options.stores ?? createMemoryStores();
  const open: OpenListener[] = [];
  const listeners = new Set<() => void>();
  const masks = createMasks();
  const generations = createGenerations({
    config,
    load: options.load ?? (async () => config),
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
  return { lasting, generations, masks, open, onChange: (listener) => void listeners.add(listener), closeAll };
}

/** @throws ConfigProblems when a stored service is none any more, or what kept a listener from opening. */
export async function openGateway(config: Config, options: GatewayOptions = {}): Promise<Gateway> {
  const { lasting, generations, open, onChange, closeAll } = await compose(config, options);
  const urls: string[] = [];
  try {
    await generations.start(lasting);
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
    onChange,
    checkForUpdate: () => generations.current.checkForUpdate(),
    reload: generations.reload,
    refreshTokens: generations.refreshTokens,
    async drain(delayMs, timeoutMs) {
      lasting.instance.isDraining = true;
      generations.drainWaiting(delayMs + timeoutMs * WAITING_SHARE);
      await wait(delayMs);
      // Before WebSockets are sent away: their clients come again at once.
      await Promise.all(open.map(({ server }) => server.stopListening()));
      return closeAll(timeoutMs);
    },
    async close() {
      await closeAll(0);
    },
  };
}

/** What `diagnoseAtRest` found, with every secret masked. */
export interface RestingGateway {
  readonly diagnostics: Diagnostics;
  /** None where the configuration is not sound. */
  readonly services: readonly ServiceItem[];
}

/**
 * The checks, as far as they need no gateway that runs: its parts are built, nothing listens, and nothing is written to the log.
 * @param config whose services are let be where it is not sound: only what is known to be meant is contacted.
 * @throws ConfigProblems when a stored service is none any more.
 */
export async function diagnoseAtRest(
  config: Config,
  options: GatewayOptions & { readonly offline: OfflineState },
): Promise<RestingGateway> {
  const { isValid } = options.offline;
  const served = isValid ? config : { ...config, services: new Map<string, Service>() };
  const logSink = { write() {}, flushSync() {} };
  const { lasting, generations, masks, closeAll } = await compose(served, { ...options, logSink });
  try {
    masks.add(config, config.services.values());
    await generations.start(lasting);
    const diagnostics = await generations.current.diagnose();
    return maskTexts({ diagnostics, services: isValid ? lasting.serviceChanges.list() : [] }, masks.all);
  } finally {
    await closeAll(0);
  }
}

/** Of the time to end: whoever waits for a quota or a connection until then has the rest of it to be served, or told that it is not. */
const WAITING_SHARE = 0.8;

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
    times: { keepAliveTimeoutMs: settings.KEEP_ALIVE_TIMEOUT, headersTimeoutMs: settings.HEADERS_TIMEOUT },
    limits: {
      all: settings.MAX_CONNECTIONS,
      perAddress: settings.MAX_CONNECTIONS_PER_ADDRESS,
      sendTimeoutMs: settings.SEND_TIMEOUT,
      isTrustedPeer: (address) => generations.current.isTrustedPeer(address),
    },
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

/** Unreferenced: while there is anything to wait for, its sockets keep the process. */
function wait(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
