/**
 * Everything that follows from one configuration: who may call, which services there are, both planes.
 * Invariant: a reload makes a new one beside the old and exchanges the two in one step, so that no request sees half of
 * either; what did not change keeps its connections and its counts.
 */
import { createCallers } from "../callers/callers.ts";
import type { IssuedKeys } from "../callers/issued-keys.ts";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import type { KeyUsage } from "../callers/key-usage.ts";
import type { LockOut } from "../callers/lock-out.ts";
import type { Config, LoadConfig } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import { createControlPlane } from "../control-plane/app.ts";
import type { ControlPlane, ControlPlaneParts, Listener } from "../control-plane/parts.ts";
import { createDryRun } from "../data-plane/dry-run/dry-run.ts";
import { fetchJson } from "../data-plane/forward/fetch-json.ts";
import { probe } from "../data-plane/forward/probe.ts";
import { createPipeline, type Pipeline, type PipelineParts } from "../data-plane/pipeline.ts";
import type { OfflineState } from "../diagnostics/check.ts";
import { createDiagnostics, type Diagnostics } from "../diagnostics/diagnostics.ts";
import type { KeyLimits } from "../limits/limiters.ts";
import { createClientView } from "../perimeter/client-view.ts";
import { type Cors, createCors } from "../perimeter/cors.ts";
import {
  createForeignPageGuard,
  createHostList,
  createOpenPlaneGuard,
  type HostList,
} from "../perimeter/open-plane.ts";
import { createRegistry, type Registry } from "../services/registry.ts";
import { createUpdateCheck, type UpdateStatus } from "../update-check.ts";
import { version } from "../version.ts";
import { type BoundListener, createDiagnosticsContext } from "./diagnostics-context.ts";
import { openUpstream, type Upstream, type UpstreamContext } from "./upstreams.ts";

/** What outlives a generation. */
export interface LastingParts
  extends Pick<
      PipelineParts,
      "instance" | "logger" | "metrics" | "monitor" | "inFlight" | "webSockets" | "retryAfterS" | "tunnels"
    >,
    Pick<
      ControlPlaneParts,
      "openWebSockets" | "reload" | "serviceChanges" | "keyChanges" | "audit" | "fingerprint" | "mask"
    >,
    Omit<UpstreamContext, "settings"> {
  readonly issuedKeys: IssuedKeys;
  readonly keyUsage: KeyUsage;
  readonly keyRefusals: KeyRefusals;
  readonly lockOut: LockOut;
  readonly keyLimits: KeyLimits;
  /** Reads the configuration as a reload would. @throws ConfigProblems */
  readonly load: LoadConfig;
  /** DATA_DIR; undefined where state is in memory. */
  readonly stateFolder: string | undefined;
  /** Undefined in a gateway that runs. */
  readonly offline: OfflineState | undefined;
  readonly listeners: () => readonly BoundListener[];
  /** Where it listens since it started: a reload moves nothing. */
  readonly addresses: Pick<Config, "isLoopback" | "managementListener">;
}

export interface Generation {
  readonly config: Config;
  readonly isOwnKey: (token: string) => boolean;
  readonly isTrustedPeer: (address: string) => boolean;
  readonly registry: Registry;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  readonly cors: Cors;
  readonly diagnose: () => Promise<Diagnostics>;
  readonly dataPlane: Pipeline;
  /** The live table: a service that is added or changed at run time is exchanged in it, between two requests. */
  readonly upstreams: Map<string, Upstream>;
  /** Of the configuration and of what was added to it. */
  readonly warnings: readonly string[];
  /** By listener. */
  readonly controlPlanes: Readonly<Record<Listener["name"], ControlPlane>>;
}

/** All that is served by a configuration. */
export interface ServedServices {
  readonly services: Iterable<Service>;
  readonly warnings: readonly string[];
}

/** @param previous whose unchanged services are taken over. @throws for a TLS file that went away since it was checked. */
export function createGeneration(
  config: Config,
  { services, warnings }: ServedServices,
  lasting: LastingParts,
  previous?: Generation,
): Generation {
  const { settings } = config;
  const callers = createCallers(config, lasting.issuedKeys, lasting);
  const cors = createCors(settings);
  const upstreams = openUpstreams(services, { ...lasting, settings }, previous);
  const egress = { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? true, ownListeners: lasting.ownListeners };
  const checkForUpdate = createUpdateCheck({
    ...{ settings, current: version.version },
    fetchJson: (url) => fetchJson(url, { isTlsStrict: settings.STRICT_TLS, egress }),
  });
  const guardOpenPlane = createOpenPlaneGuard(config, "proxy");
  const parts = {
    ...lasting,
    ...{ callers, cors, guardOpenPlane, checkForUpdate },
    clients: createClientView(settings, () => callers.isProtected("proxy")),
    registry: createRegistry(upstreams),
  };
  const probeOf = async (key: string, withinMs?: number) => probe((upstreams.get(key) as Upstream).prepared, withinMs);
  const pipelineParts = { ...parts, findPrepared: (key: string) => upstreams.get(key)?.prepared };
  const controlPlaneParts = {
    ...parts,
    diagnose: createDiagnostics(
      createDiagnosticsContext({ config, warnings, upstreams, callers, cors, checkForUpdate, probe: probeOf }, lasting),
    ),
    explain: createDryRun({ ...pipelineParts, connections: () => mainOf(lasting.listeners()).connections }),
    loadOf: (key: string) => (upstreams.get(key) as Upstream).prepared,
    probe: probeOf,
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "management"),
    findForeignPage: createForeignPageGuard(config),
    planes: { proxy: config.proxyPlane, management: config.managementPlane },
  };
  return {
    config,
    isOwnKey: callers.isOwnKey,
    isTrustedPeer: parts.clients.isTrustedPeer,
    registry: parts.registry,
    cors,
    diagnose: controlPlaneParts.diagnose,
    dataPlane: createPipeline(pipelineParts),
    checkForUpdate,
    upstreams,
    warnings,
    controlPlanes: createControlPlanes(config, lasting.addresses, controlPlaneParts),
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

const mainOf = (listeners: readonly Listener[]) => listeners.find(({ name }) => name === "main") as Listener;

/** With a second listener, operators are served there and callers here. */
function createControlPlanes(
  config: Config,
  { isLoopback, managementListener: second }: LastingParts["addresses"],
  parts: ControlPlaneParts,
): Record<Listener["name"], ControlPlane> {
  const main = { callers: true, operators: second === undefined, hosts: guardedHosts(config, isLoopback) };
  const operators = { callers: false, operators: true, hosts: guardedHosts(config, second?.isLoopback ?? isLoopback) };
  return { main: createControlPlane(parts, main), management: createControlPlane(parts, operators) };
}

/** Names by which what needs no key may be asked for: any, once the address is the world's and the plane has its key. */
function guardedHosts({ settings, managementPlane }: Config, isLoopback: boolean): HostList | undefined {
  return isLoopback || !managementPlane.isProtected ? createHostList(settings.ALLOWED_HOSTS) : undefined;
}
