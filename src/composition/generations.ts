/**
 * The generation that serves requests, its replacement by a reload, and changes of single services in it.
 * Invariant: there is always a current generation; a configuration that cannot be read or built changes nothing; one change runs
 * at a time; and the connections of a replaced service are closed when its last exchange has ended.
 */
import { withFreshTokens } from "../config/fresh-secrets.ts";
import { type Config, ConfigProblems, withServices } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { ServiceQuotaState } from "../data-plane/quota/describe.ts";
import { createHookLoader, HooksUnusable } from "../hooks/hook-loader.ts";
import type { UserHooks } from "../hooks/user-hooks.ts";
import { createServiceChanges, type ServiceChanges } from "../services/changes.ts";
import { PortUnavailable } from "../services/port-unavailable.ts";
import { type StoredService, withStoredServices } from "../services/stored-services.ts";
import type { Records } from "../stores/records.ts";
import type { MeasuredService } from "../telemetry/service-gauges.ts";
import { Yielder } from "../yielder.ts";
import { addressesOf, createGeneration, type Generation, type ServedServices } from "./generation.ts";
import { measureCredential } from "./measure-credential.ts";
import type { ProcessParts } from "./process-parts.ts";
import { compareGenerations, findDangers, type ReloadOutcome } from "./reload-outcome.ts";
import { RetiredUpstreams } from "./retired-upstreams.ts";
import type { ServicePorts } from "./service-ports.ts";
import { findForbidden, openUpstream, type Upstream } from "./upstreams.ts";

export interface GenerationsOptions {
  /** The configuration that is served first. */
  readonly config: Config;
  readonly parts: ProcessParts;
  /** The services that were added at run time. */
  readonly stored: Records<StoredService>;
  readonly ports: ServicePorts;
  /** Called when the served services or the configuration have changed. */
  readonly onChange: () => void;
}

/** Builds the first generation. @throws ConfigProblems if a stored service does not match the schema, or HooksUnusable. */
export async function startGenerations(options: GenerationsOptions): Promise<Generations> {
  const { config, stored, parts } = options;
  const loadHooks = createHooksOf(parts);
  const hooks = await loadHooks(config);
  return new Generations({ ...options, loadHooks }, { ...(await withStoredServices(config, stored.entries)), hooks });
}

/** The user hooks of a configuration; undefined where MIDDLEWARE_PATH is not set. @throws HooksUnusable */
type LoadHooks = (config: Config) => Promise<UserHooks | undefined>;

function createHooksOf({ logger, mask, offline, addSecrets }: ProcessParts): LoadHooks {
  const loader = createHookLoader({ logger, mask });
  return async (config) => {
    const { MIDDLEWARE_PATH: path } = config.settings;
    // Checks without a gateway run no code of the operator's.
    if (path === undefined || offline !== undefined) return undefined;
    // A message of the module's own may contain them.
    addSecrets(config, config.services.values());
    return loader.load(path);
  };
}

interface ServedParts extends ServedServices {
  readonly hooks: UserHooks | undefined;
}

export class Generations {
  readonly serviceChanges: ServiceChanges;
  readonly #parts: ProcessParts;
  readonly #loadHooks: LoadHooks;
  readonly #stored: Records<StoredService>;
  readonly #ports: ServicePorts;
  readonly #onChange: () => void;
  readonly #retired: RetiredUpstreams;
  readonly #stopWatching: () => void;
  /** Replaced as a whole, and only here. A plain member, because each request reads it. */
  current: Generation;
  /** Settles when the change that was requested last is over. */
  #lastChange: Promise<unknown> = Promise.resolve();

  constructor(
    { config, parts, stored, ports, onChange, loadHooks }: GenerationsOptions & { readonly loadHooks: LoadHooks },
    served: ServedParts,
  ) {
    this.#loadHooks = loadHooks;
    this.#parts = parts;
    this.#stored = stored;
    this.#ports = ports;
    this.#onChange = onChange;
    this.#retired = new RetiredUpstreams(() => this.current, parts);
    this.serviceChanges = createServiceChanges({
      config: () => this.current.config,
      registry: () => this.current.registry,
      stored,
      runExclusive: (change) => this.#runExclusive(change),
      findForbidden: (service) => findForbidden(service, { ...parts, settings: this.current.config.settings }),
      openPort: (service) => ports.open([service]),
      closeUnusedPorts: () => this.#followPorts(),
      audit: parts.audit,
      fingerprint: parts.fingerprint,
    });
    this.current = this.#build(config, served);
    this.#stopWatching = stored.watch((key) => this.#applyStored(key));
  }

  /** Reads the configuration again and, if it is valid, serves it from the next request on. */
  reload(): Promise<ReloadOutcome> {
    return this.#runExclusive(() => this.#reportProblems(() => this.#replaceCurrent()));
  }

  /** Reads only the token files again. */
  refreshTokens(): Promise<ReloadOutcome> {
    return this.#runExclusive(() => this.#reportProblems(async () => this.#replaceTokens()));
  }

  /** Of each current service; requests in flight on replaced or removed services are included. */
  measured(): MeasuredService[] {
    const inFlight = new Map<string, number>();
    for (const [key, { prepared }] of this.current.upstreams) inFlight.set(key, prepared.slots.taken);
    for (const [key, taken] of this.#retired.inFlight()) inFlight.set(key, (inFlight.get(key) ?? 0) + taken);
    const { spending } = this.#parts;
    return [...inFlight].map(([key, taken]) => ({
      ...measure(key, taken, this.current.upstreams.get(key)),
      tokens: spending.counted(key),
    }));
  }

  /** Opens the ports of the first services. @throws PortUnavailable */
  async openPorts(): Promise<void> {
    await this.#ports.open(this.#services());
  }

  /** After this time, in milliseconds, no request waits for a limit, a quota or a connection. */
  drainWaiting(withinMs: number): void {
    for (const { prepared } of this.current.upstreams.values()) {
      prepared.limiter?.queue?.drain(withinMs, "draining");
      prepared.quota?.drain(withinMs);
    }
    setTimeout(() => {
      for (const { prepared } of this.current.upstreams.values()) prepared.transport.drain();
    }, withinMs).unref();
  }

  async close(): Promise<void> {
    this.#stopWatching();
    // A change that is under way may open connections, which would otherwise never be closed.
    await this.#lastChange;
    this.#parts.credentials.abandonRotations();
    await this.#retired.close();
    await Promise.all([...this.current.upstreams.values()].map(({ prepared }) => prepared.close()));
  }

  #build(config: Config, { services, warnings, hooks }: ServedParts, previous?: Generation): Generation {
    const all = [...services];
    this.#parts.addSecrets(config, all);
    const parts = { ...this.#parts, hooks, serviceChanges: this.serviceChanges, reload: () => this.reload() };
    return createGeneration(config, { services: all, warnings }, parts, previous);
  }

  async #replaceCurrent(): Promise<ReloadOutcome> {
    const { certificate, logger } = this.#parts;
    // A configuration with a problem does not keep the listener from a renewed certificate, nor the other way round.
    certificate?.refresh(logger);
    const yielder = new Yielder();
    const config = await this.#parts.load();
    // Building a generation of 1,000 services takes long enough on its own.
    if (yielder.isDue) await yielder.yield();
    const served = await withStoredServices(config, this.#stored.entries);
    const previous = this.current;
    const dangers = findDangers(previous.config, config, this.#parts.addresses);
    if (dangers.length > 0) throw new ConfigProblems(dangers);
    const hooks = await this.#loadHooks(config);
    const generation = await this.#withPorts([...served.services], (services) =>
      this.#build(config, { ...served, services, hooks }, previous),
    );
    this.current = generation;
    this.#followPorts();
    this.#closeOfEndedCallers(previous, generation);
    for (const [key, upstream] of previous.upstreams) {
      if (generation.upstreams.get(key) !== upstream) this.#retired.add(upstream);
    }
    this.#parts.credentials.retryFailed();
    this.#onChange();
    return compareGenerations(previous, generation, certificate?.problem);
  }

  /** Their WebSockets would outlive what admitted them. */
  #closeOfEndedCallers(previous: Generation, { config, tokens }: Generation): void {
    if (previous.tokens !== tokens) previous.tokens?.verifier.close();
    const [before, now] = [previous.config.proxyPlane.key, config.proxyPlane.key];
    if (before !== undefined && before.reveal() !== now?.reveal()) this.#parts.tunnels.closeOfCaller("proxy-key");
  }

  /** The new ports are open before the services are built: a port in use refuses the reload. @throws ConfigProblems */
  async #withPorts(services: readonly Service[], build: (services: readonly Service[]) => Generation) {
    try {
      await this.#ports.open(services);
      return build(services);
    } catch (error) {
      this.#followPorts();
      if (!(error instanceof PortUnavailable)) throw error;
      throw new ConfigProblems([`services.${error.service}.port: ${error.problem}`]);
    }
  }

  /** Closes the ports of no current service. */
  #followPorts(): void {
    this.#ports.follow(this.#services());
  }

  #services(): Service[] {
    return [...this.current.upstreams.values()].map(({ service }) => service);
  }

  #replaceTokens(): ReloadOutcome {
    const { config, upstreams } = this.current;
    const served = [...upstreams.values()].map(({ service }) => service);
    const changed = withFreshTokens(served, config);
    // A stored service may hide one of the configuration, which must have the new token too when the stored one is removed.
    const configured = withFreshTokens(config.services.values(), config);
    this.current = { ...this.current, config: withServices(config, configured) };
    for (const service of changed) this.#serve(service.key, service);
    const keys = changed.map(({ key }) => key);
    return { isDone: true, added: [], changed: keys, removed: [], needsRestart: [], warnings: [] };
  }

  /** Replaces one service in the live table; undefined removes it. */
  #serve(key: string, service: Service | undefined): void {
    const { upstreams, config } = this.current;
    const old = upstreams.get(key);
    if (service !== undefined) this.#parts.addSecrets(config, [service]);
    const next = service && openUpstream(service, { ...this.#parts, settings: config.settings }, old);
    if (next === undefined) upstreams.delete(key);
    else upstreams.set(key, next);
    if (isAddressed(old) || isAddressed(next)) {
      this.current.served.addresses = addressesOf(upstreams);
      this.#followPorts();
    }
    if (old !== undefined && old !== next) this.#retired.add(old);
    this.#onChange();
  }

  /** Serves a stored service that this process, or another one, has changed. */
  #applyStored(key: string): void {
    const { config } = this.current;
    const record = this.#stored.entries.get(key);
    try {
      if (record === undefined) return this.#serve(key, config.services.get(key));
      const reading = config.readRuntimeService(key, record.value.config);
      if ("problems" in reading) throw new Error("a stored service is not valid");
      this.#serve(key, reading.service);
    } catch (error) {
      this.#parts.logger.error({ err: error, service: key }, "a changed service could not be applied");
    }
  }

  /** Runs when no other change is under way, and delays later ones: a second change sees the result of the first. */
  #runExclusive<T>(change: () => Promise<T>): Promise<T> {
    const outcome = this.#lastChange.then(change);
    this.#lastChange = outcome.catch(() => {});
    return outcome;
  }

  async #reportProblems(change: () => Promise<ReloadOutcome>): Promise<ReloadOutcome> {
    try {
      return await change();
    } catch (error) {
      if (error instanceof ConfigProblems) return { isDone: false, problems: error.problems };
      if (error instanceof HooksUnusable) return { isDone: false, problems: [error.message] };
      this.#parts.logger.error({ err: error }, "the reload failed");
      return { isDone: false, problems: ["The configuration could not be applied; the log has the cause."] };
    }
  }
}

function isAddressed(upstream: Upstream | undefined): boolean {
  return upstream !== undefined && (upstream.service.hosts.length > 0 || upstream.service.port !== undefined);
}

/** @param upstream undefined for a service that was removed. */
function measure(key: string, inFlight: number, upstream: Upstream | undefined): Omit<MeasuredService, "tokens"> {
  const prepared = upstream?.prepared;
  return {
    key,
    inFlight,
    ...measureCredential(prepared),
    breaker: prepared?.breaker?.describe().state,
    retriesWithheld: prepared?.retryBudget.withheld ?? 0,
    connections: prepared?.transport.connections(),
    cache: prepared?.cache?.describe(),
    idempotency: prepared?.idempotency?.describe(),
    quota: measureQuota(prepared?.quota?.describe()),
    limitWaiting: prepared?.limiter?.queue?.size,
  };
}

function measureQuota(state: ServiceQuotaState | undefined): MeasuredService["quota"] {
  if (state === undefined) return undefined;
  const { tightest, waiting, upstreamRefusals } = state;
  return { remaining: tightest?.remaining, waiting, upstreamRefusals };
}
