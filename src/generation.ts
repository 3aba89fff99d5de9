/**
 * Everything that follows from one configuration: who may call, which services there are, both planes.
 * Invariant: a reload makes a new one beside the old and exchanges the two in one step, so that no request sees half of
 * either; what did not change keeps its connections and its counts.
 */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { createCallers } from "./callers/callers.ts";
import type { Config } from "./config/load-config.ts";
import type { Service } from "./config/schema.ts";
import { createControlPlane } from "./control-plane/app.ts";
import type { ControlPlane, ControlPlaneParts, Listener } from "./control-plane/parts.ts";
import type { DialOptions, EgressPolicy } from "./data-plane/forward/egress.ts";
import { createPipeline, type Pipeline, type PipelineParts } from "./data-plane/pipeline.ts";
import { type PreparedService, prepareService } from "./data-plane/prepared-service.ts";
import { createLimiter } from "./limits/limiters.ts";
import { createClientView } from "./perimeter/client-view.ts";
import { type Cors, createCors } from "./perimeter/cors.ts";
import { createHostList, createOpenPlaneGuard, type HostList } from "./perimeter/open-plane.ts";
import { createRegistry } from "./registry/registry.ts";

/** What outlives a generation. */
export interface LastingParts
  extends Pick<PipelineParts, "instance" | "logger" | "metrics" | "monitor" | "inFlight" | "retryAfterS" | "tunnels">,
    Pick<ControlPlaneParts, "listeners" | "openWebSockets" | "reload"> {
  /** Where it listens since it started: a reload moves nothing. */
  readonly addresses: Pick<Config, "isLoopback" | "managementListener">;
  readonly ownListeners: EgressPolicy["ownListeners"];
  /** Of the embedded echo server; undefined where it does not run. */
  readonly echoSocketPath: string | undefined;
}

interface Upstream {
  readonly prepared: PreparedService;
  readonly dialOptions: DialOptions;
}

export interface Generation {
  readonly config: Config;
  readonly isOwnKey: (token: string) => boolean;
  readonly cors: Cors;
  readonly dataPlane: Pipeline;
  readonly upstreams: ReadonlyMap<string, Upstream>;
  /** By listener. */
  readonly controlPlanes: Readonly<Record<Listener["name"], ControlPlane>>;
}

/** @param previous whose unchanged services are taken over. @throws for a TLS file that went away since it was checked. */
export function createGeneration(config: Config, lasting: LastingParts, previous?: Generation): Generation {
  const { settings } = config;
  const callers = createCallers(config);
  const cors = createCors(settings);
  const upstreams = createUpstreams(config, lasting, previous);
  const guardOpenPlane = createOpenPlaneGuard(config, "PROXY_API_KEY");
  const parts = {
    ...lasting,
    ...{ callers, cors, guardOpenPlane },
    clients: createClientView(settings, callers.isProtected("proxy")),
    registry: createRegistry(new Map([...config.services].filter(([key]) => upstreams.has(key)))),
  };
  const controlPlaneParts = {
    ...parts,
    loadOf: (key: string) => (upstreams.get(key) as Upstream).prepared,
    guardOpenProxyPlane: guardOpenPlane,
    guardOpenManagementPlane: createOpenPlaneGuard(config, "MANAGEMENT_API_KEY"),
  };
  return {
    config,
    isOwnKey: callers.isOwnKey,
    cors,
    dataPlane: createPipeline({ ...parts, findPrepared: (key) => upstreams.get(key)?.prepared }),
    upstreams,
    controlPlanes: createControlPlanes(config, lasting.addresses, controlPlaneParts),
  };
}

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

function createUpstreams(config: Config, lasting: LastingParts, previous?: Generation): Map<string, Upstream> {
  const upstreams = new Map<string, Upstream>();
  for (const service of config.services.values()) {
    // It runs from the start or not at all; without it the service's address must not be looked for elsewhere.
    if (service.embedded && lasting.echoSocketPath === undefined) continue;
    const dialOptions = dialOptionsOf(service, config, lasting);
    const old = previous?.upstreams.get(service.key);
    const isSame = old !== undefined && isSameUpstream(old, service, dialOptions);
    upstreams.set(service.key, isSame ? old : { prepared: prepare(service, dialOptions, old), dialOptions });
  }
  return upstreams;
}

/** A limit that did not change goes on counting. */
function prepare(service: Service, dialOptions: DialOptions, old: Upstream | undefined): PreparedService {
  const isSameLimit = old !== undefined && isDeepStrictEqual(old.prepared.service.rateLimit, service.rateLimit);
  return prepareService(service, isSameLimit ? old.prepared.limiter : createLimiter(service), dialOptions);
}

function isSameUpstream({ prepared, dialOptions }: Upstream, service: Service, now: DialOptions): boolean {
  const { credential: oldCredential, ...old } = prepared.service;
  const { credential, ...definition } = service;
  return (
    isDeepStrictEqual(old, definition) &&
    oldCredential?.source === credential?.source &&
    oldCredential?.secret?.reveal() === credential?.secret?.reveal() &&
    isDeepStrictEqual(dialOptions.pem, now.pem) &&
    dialOptions.isTlsStrict === now.isTlsStrict &&
    dialOptions.socketPath === now.socketPath &&
    dialOptions.egress.allowsPrivate === now.egress.allowsPrivate
  );
}

function dialOptionsOf(service: Service, { settings }: Config, lasting: LastingParts): DialOptions {
  const { caFile, certFile, keyFile, strict } = service.tls;
  return {
    service,
    isTlsStrict: strict ?? settings.STRICT_TLS,
    pem: {
      ...(caFile === undefined ? {} : { ca: readFileSync(caFile, "utf8") }),
      ...(certFile === undefined ? {} : { cert: readFileSync(certFile, "utf8") }),
      ...(keyFile === undefined ? {} : { key: readFileSync(keyFile, "utf8") }),
    },
    socketPath: service.embedded ? lasting.echoSocketPath : undefined,
    egress: { allowsPrivate: settings.EGRESS_ALLOW_PRIVATE ?? true, ownListeners: lasting.ownListeners },
  };
}
