/**
 * Everything that follows from one configuration: the callers, the services and both planes.
 * Invariant: a reload builds the next generation beside the current one and replaces it in one step, so that no request meets
 * parts of both; unchanged services keep their connections and counts.
 */
import { type Callers, createCallers } from "../callers/callers.ts";
import { createParties } from "../callers/parties.ts";
import { proxyUrlFor, proxyUseOf } from "../config/egress-proxy.ts";
import type { Config } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { type ServiceAddress, ServiceAddresses } from "../config/service-addresses.ts";
import { createControlPlane } from "../control-plane/app.ts";
import type { ControlPlane, ControlPlaneParts, Listener } from "../control-plane/parts.ts";
import { createDryRun } from "../data-plane/dry-run/dry-run.ts";
import { fetchJson } from "../data-plane/forward/fetch-json.ts";
import { probe } from "../data-plane/forward/probe.ts";
import { cancelRotation, rotateCredential } from "../data-plane/forward/rotate-credential.ts";
import { createPipeline, type Pipeline } from "../data-plane/pipeline.ts";
import { currentService } from "../data-plane/prepared-service.ts";
import type { DiagnosedService, DiagnosticsContext } from "../diagnostics/check.ts";
import { createDiagnostics, type Diagnostics } from "../diagnostics/diagnostics.ts";
import { findContainer } from "../diagnostics/listen.ts";
import { processUsage } from "../diagnostics/process-usage.ts";
import type { UserHooks } from "../hooks/user-hooks.ts";
import { createClientView } from "../perimeter/client-view.ts";
import { type Cors, createCors } from "../perimeter/cors.ts";
import {
  createForeignPageGuard,
  createHostList,
  createOpenPlaneGuard,
  type HostList,
} from "../perimeter/open-plane.ts";
import { examineCertificate } from "../perimeter/server-certificate.ts";
import { createRegistry, type Registry } from "../services/registry.ts";
import { createUpdateCheck, type UpdateStatus } from "../update-check.ts";
import { version } from "../version.ts";
import type { BoundListener, ProcessParts } from "./process-parts.ts";
import { refusalsByService } from "./refusals-by-service.ts";
import { openTokens, type TokenSource } from "./token-source.ts";
import { openUpstream, type Upstream, type UpstreamContext } from "./upstreams.ts";

export interface Generation {
  readonly config: Config;
  /** Undefined if the gateway accepts no tokens. */
  readonly tokens: TokenSource | undefined;
  readonly isOwnKey: (token: string) => boolean;
  readonly isTrustedPeer: (address: string) => boolean;
  readonly decideCaller: Callers["decide"];
  readonly registry: Registry;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  readonly cors: Cors;
  readonly diagnose: () => Promise<Diagnostics>;
  readonly dataPlane: Pipeline;
  /** The live table: a service that is added or changed at run time is replaced in it, between two requests. */
  readonly upstreams: Map<string, Upstream>;
  /** The addresses of the services in that table; replaced with each change of them. */
  readonly served: { addresses: ServiceAddresses };
  /** About the configuration and about stored services. */
  readonly warnings: readonly string[];
  /** By listener. */
  readonly controlPlanes: Readonly<Record<"main" | "management", ControlPlane>>;
}

export interface ServedServices {
  readonly services: Iterable<Service>;
  readonly warnings: readonly string[];
}

export type GenerationParts = ProcessParts &
  Pick<ControlPlaneParts, "reload" | "serviceChanges"> & { readonly hooks: UserHooks | undefined };

/** @param previous its unchanged services are kept. @throws for a TLS file that was removed since the configuration was read. */
export function createGeneration(
  config: Config,
  { services, warnings }: ServedServices,
  processParts: GenerationParts,
  previous?: Generation,
): Generation {
  const { settings } = config;
  const tokens = openTokens(config, processParts, previous?.tokens);
  const callers = createCallers(config, processParts.issuedKeys, processParts, tokens?.verifier);
  const cors = createCors(settings);
  const upstreams = openUpstreams(services, { ...processParts, settings }, previous);
  const served = { addresses: addressesOf(upstreams) };
  const checkForUpdate = createUpdates(config, processParts);
  const guardOpenPlane = createOpenPlaneGuard(config, "proxy");
  const parts = {
    ...processParts,
    callers,
    parties: createParties({
      config,
      issuedKeys: processParts.issuedKeys,
      callers,
      isLoopbackOnly: processParts.addresses.isLoopback && (settings.TRUST_PROXY ?? []).length === 0,
    }),
    cors,
    guardOpenPlane,
    checkForUpdate,
    clients: createClientView(settings, () => callers.isProtected("proxy")),
    registry: createRegistry(upstreams, ({ prepared }) => currentService(prepared)),
    serviceAddresses: () => served.addresses,
  };
  const access = accessTo(upstreams);
  const pipelineParts = { ...parts, upstreams };
  const diagnose = createDiagnostics({
    ...describeGeneration({ config, warnings, callers, cors, upstreams }, processParts),
    ...describeProcess(processParts),
    checkForUpdate,
    probe: access.probe,
    tokens: tokens?.verifier,
    hooks: processParts.hooks,
  });
  const controlPlaneParts = {
    ...parts,
    ...access,
    diagnose,
    explain: createDryRun({
      ...pipelineParts,
      connections: (address) => listenerFor(address, parts.listeners()).connections,
    }),
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "management"),
    findForeignPage: createForeignPageGuard(config),
    planes: { proxy: config.proxyPlane, management: config.managementPlane },
    tokens: tokens?.verifier,
  };
  return {
    config,
    tokens,
    isOwnKey: callers.isOwnKey,
    decideCaller: callers.decide,
    isTrustedPeer: parts.clients.isTrustedPeer,
    registry: parts.registry,
    cors,
    diagnose,
    dataPlane: createPipeline(pipelineParts),
    checkForUpdate,
    upstreams,
    served,
    warnings,
    controlPlanes: createControlPlanes(config, parts.addresses, controlPlaneParts),
  };
}

/** By the key of a service in the table. */
function accessTo(
  upstreams: ReadonlyMap<string, Upstream>,
): Pick<ControlPlaneParts, "loadOf" | "probe" | "rotateCredential" | "cancelRotation"> {
  const preparedOf = (key: string) => (upstreams.get(key) as Upstream).prepared;
  return {
    loadOf: preparedOf,
    probe: (key, withinMs) => probe(preparedOf(key), withinMs),
    rotateCredential: (key, order) => rotateCredential(preparedOf(key), order),
    cancelRotation: (key) => cancelRotation(preparedOf(key)),
  };
}

function openUpstreams(
  services: Iterable<Service>,
  context: UpstreamContext,
  previous: Generation | undefined,
): Map<string, Upstream> {
  const upstreams = new Map<string, Upstream>();
  for (const service of services) {
    const upstream = openUpstream(service, context, previous?.upstreams.get(service.key));
    if (upstream !== undefined) upstreams.set(service.key, upstream);
  }
  return upstreams;
}

export function addressesOf(upstreams: ReadonlyMap<string, Upstream>): ServiceAddresses {
  return ServiceAddresses.of([...upstreams.values()].map(({ service }) => service));
}

function createUpdates({ settings }: Config, { ownListeners }: ProcessParts): () => Promise<UpdateStatus> {
  const egress = { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? true, ownListeners };
  const proxyUse = proxyUseOf(undefined, false, settings);
  return createUpdateCheck({
    settings,
    current: version.version,
    fetchJson: (url) => fetchJson(url, { isTlsStrict: settings.STRICT_TLS, egress, proxyUse }),
  });
}

/** The listener that callers use, or that of the service's own port. */
function listenerFor(address: ServiceAddress | undefined, listeners: readonly Listener[]): Listener {
  const own = address?.by === "port" ? listeners.find(({ service }) => service === address.key) : undefined;
  return own ?? (listeners.find(({ name }) => name === "main") as Listener);
}

/** With a second listener, the main one serves callers and the second one serves operators. */
function createControlPlanes(
  config: Config,
  { isLoopback, managementListener: second }: ProcessParts["addresses"],
  parts: ControlPlaneParts,
): Record<"main" | "management", ControlPlane> {
  const main = { callers: true, operators: second === undefined, hosts: guardedHosts(config, isLoopback) };
  const operators = { callers: false, operators: true, hosts: guardedHosts(config, second?.isLoopback ?? isLoopback) };
  return { main: createControlPlane(parts, main), management: createControlPlane(parts, operators) };
}

/** The host names under which routes without a key are served: undefined for any, off loopback and with a management key. */
function guardedHosts({ settings, managementPlane }: Config, isLoopback: boolean): HostList | undefined {
  return isLoopback || !managementPlane.isProtected ? createHostList(settings.ALLOWED_HOSTS) : undefined;
}

interface DiagnosedGeneration extends Pick<Generation, "config" | "warnings" | "cors" | "upstreams"> {
  readonly callers: Callers;
}

function describeGeneration(
  { config, warnings, callers, cors, upstreams }: DiagnosedGeneration,
  { addresses, offline, certificate }: ProcessParts,
): Pick<
  DiagnosticsContext,
  "config" | "certificate" | "warnings" | "services" | "refusedKeys" | "isProtected" | "refusedOrigins"
> {
  return {
    // A reload does not move a listener, so the addresses are those of the start.
    config: { ...config, ...addresses },
    certificate: () => (offline === undefined ? certificate : examineCertificate(config.settings)),
    warnings,
    services: () => [...upstreams.values()].map(describeUpstream),
    refusedKeys: callers.refusedKeys,
    isProtected: callers.isProtected,
    refusedOrigins: cors.refusedOrigins,
  };
}

function describeUpstream({ prepared, dialOptions }: Upstream): DiagnosedService {
  return {
    // Read when it is needed: a probe may have run a command.
    get service() {
      return currentService(prepared);
    },
    isTlsStrict: dialOptions.isTlsStrict,
    proxyUrl: proxyUrlFor(dialOptions.proxyUse, prepared.service.baseUrl),
    limiter: prepared.limiter,
    slots: prepared.slots,
    times: prepared.times,
    credentialRefusals: prepared.credentialRefusals,
    quota: prepared.quota,
    signature: prepared.signature,
    breaker: prepared.breaker,
    connections: prepared.transport.connections,
  };
}

function describeProcess(
  parts: ProcessParts,
): Omit<
  DiagnosticsContext,
  keyof ReturnType<typeof describeGeneration> | "checkForUpdate" | "probe" | "tokens" | "hooks"
> {
  const { load, offline, stateFolder, sharedStore, monitor, logger, fingerprint } = parts;
  return {
    load,
    offline,
    stateFolder,
    sharedStore,
    monitor,
    logger,
    fingerprint,
    ...processUsage,
    isInContainer: findContainer(),
    listeners: () => parts.listeners().filter(isOpen).map(describeListener),
    refusals: async () => refusalsByService(await parts.metrics.refusals()),
    issuedKeys: parts.issuedKeys.list,
    issuedKeyCount: () => parts.issuedKeys.count,
    keyRefusals: parts.keyRefusals.list,
    keysAtLimit: parts.keyLimits.exceeded,
    budgets: (services) => parts.spending.budgets(services),
  };
}

/** The closed port of a service is a listener until its last connection has ended. */
const isOpen = ({ name, boundTo }: BoundListener) => name !== "service" || boundTo().length > 0;

function describeListener({ name, service, connections, boundTo }: BoundListener) {
  const [{ address, port } = { address: "", port: 0 }] = boundTo();
  const { count, limit, limitPerAddress } = connections;
  return {
    name,
    ...(service === undefined ? {} : { service }),
    address,
    port,
    connections: count,
    limit,
    limitPerAddress: limitPerAddress || null,
  };
}
