/**
 * Which generation is served by, how the next one takes its place, and how one service changes within it.
 * Invariant: what cannot be read or built leaves everything as it was; one change at a time; and what was replaced ends when
 * its last exchange has.
 */
import { withFreshTokens } from "../config/credentials.ts";
import { type Config, ConfigProblems, type LoadConfig, withServices } from "../config/load-config.ts";
import type { Service } from "../config/schema.ts";
import type { ServiceQuotaState } from "../data-plane/quota/describe.ts";
import type { StoredService } from "../services/stored-services.ts";
import { withStoredServices } from "../services/stored-services.ts";
import type { Records } from "../stores/records.ts";
import type { MeasuredService } from "../telemetry/service-gauges.ts";
import { createGeneration, type Generation, type LastingParts, type ServedServices } from "./generation.ts";
import { compareGenerations, type ReloadOutcome } from "./reload-outcome.ts";
import { createRetirement } from "./retirement.ts";
import { openUpstream } from "./upstreams.ts";

export interface Generations {
  readonly current: Generation;
  /** The first one. @throws ConfigProblems when a stored service is none any more. */
  start(lasting: LastingParts): Promise<void>;
  /** One at a time: a second change sees what the first has made. */
  readonly reload: () => Promise<ReloadOutcome>;
  /** The token files only. */
  readonly refreshTokens: () => Promise<ReloadOutcome>;
  /** Runs when no other change is under way, and keeps others waiting. */
  runExclusive<T>(change: () => T | Promise<T>): Promise<T>;
  /** Of each service now, with what is under way on those that were replaced or removed. */
  measured(): MeasuredService[];
  /** From now on nobody waits for a quota, or for a connection, longer than until then. */
  drainWaiting(withinMs: number): void;
  close(): Promise<void>;
}

export interface GenerationsOptions {
  /** What is served first. */
  readonly config: Config;
  /** Reads the configuration. @throws ConfigProblems */
  readonly load: LoadConfig;
  /** The services that were added at run time. */
  readonly stored: Records<StoredService>;
  /** Told before a service or a configuration is served. */
  readonly onSecrets: (config: Config, services: Iterable<Service>) => void;
  /** Told when what is served has changed. */
  readonly onChange: () => void;
}

/**
 * What a configuration would open to the world. It was judged by the addresses that it names itself, but those take a restart:
 * what counts is where the gateway has listened since it started.
 */
export function findExposed(
  { settings, proxyPlane, managementPlane }: Pick<Config, "settings" | "proxyPlane" | "managementPlane">,
  { isLoopback, managementListener }: LastingParts["addresses"],
): string[] {
  if (settings.ALLOW_UNAUTHENTICATED) return [];
  const isOperatorsLoopback = managementListener?.isLoopback ?? isLoopback;
  return [
    ...(proxyPlane.isProtected || isLoopback ? [] : ["/proxy/*"]),
    ...(managementPlane.isProtected || isOperatorsLoopback ? [] : ["/manage/*"]),
  ].map((routes) => `${routes} would be unprotected on the address that the gateway listens on since it started`);
}

/** A file that is gone, or empty, is more likely being written than meant: who wants no services writes `{}`. */
function findLost({ configFile: before }: Config, { configFile: { path, state } }: Config): string[] {
  if (before.state !== "read" || before.path !== path || state === "read") return [];
  return [
    `${path}: found ${state === "empty" ? "an empty file" : "no file any more"}, allowed: JSON or YAML, {} for no services`,
  ];
}

export function createGenerations({ config, load, stored, onSecrets, onChange }: GenerationsOptions): Generations {
  let parts: { readonly lasting: LastingParts; current: Generation } | undefined;
  let changing: Promise<unknown> = Promise.resolve();

  const now = () => {
    if (parts === undefined) throw new Error("no generation yet");
    return parts;
  };
  const retirement = createRetirement({
    isServed: (key) => now().current.upstreams.has(key),
    lasting: () => now().lasting,
    graceMs: () => now().current.config.settings.SHUTDOWN_TIMEOUT,
  });

  function build(next: Config, served: ServedServices, lasting: LastingParts, previous?: Generation): Generation {
    const { services, warnings } = served;
    const all = [...services];
    onSecrets(next, all);
    return createGeneration(next, { services: all, warnings }, lasting, previous);
  }

  function exchange(): Promise<ReloadOutcome> {
    const { lasting } = now();
    return orProblems(lasting, async () => {
      const next = await load();
      const served = await withStoredServices(next, stored.entries);
      const { current: previous } = now();
      const dangers = [...findExposed(next, lasting.addresses), ...findLost(previous.config, next)];
      if (dangers.length > 0) throw new ConfigProblems(dangers);
      const generation = build(next, served, lasting, previous);
      now().current = generation;
      for (const [key, upstream] of previous.upstreams) {
        if (generation.upstreams.get(key) !== upstream) retirement.add(upstream);
      }
      onChange();
      return compareGenerations(previous, generation);
    });
  }

  function refresh(): Promise<ReloadOutcome> {
    const { lasting, current } = now();
    return orProblems(lasting, () => {
      const served = [...current.upstreams.values()].map(({ service }) => service);
      const changed = withFreshTokens(served, current.config);
      const underneath = withFreshTokens(current.config.services.values(), current.config);
      now().current = { ...current, config: withServices(current.config, underneath) };
      for (const service of changed) serve(service.key, service);
      const keys = changed.map(({ key }) => key);
      return { isDone: true, added: [], changed: keys, removed: [], needsRestart: [], warnings: [] };
    });
  }

  /** Exchanges one service in the table that is served from; undefined takes it out. */
  function serve(key: string, service: Service | undefined): void {
    const { lasting, current } = now();
    const { upstreams, config: by } = current;
    const old = upstreams.get(key);
    if (service !== undefined) onSecrets(by, [service]);
    const next = service && openUpstream(service, { ...lasting, settings: by.settings }, old);
    if (next === undefined) upstreams.delete(key);
    else upstreams.set(key, next);
    if (old !== undefined && old !== next) retirement.add(old);
    onChange();
  }

  /** A stored service was changed, by this process or another. */
  function onStored(key: string): void {
    const { lasting, current } = now();
    const record = stored.entries.get(key);
    try {
      if (record === undefined) return serve(key, current.config.services.get(key));
      const reading = current.config.readRuntimeService(key, record.value.config);
      if ("problems" in reading) throw new Error("a stored service is not valid");
      serve(key, reading.service);
    } catch (error) {
      lasting.logger.error({ err: error, service: key }, "a changed service could not be put to work");
    }
  }

  function runExclusive<T>(change: () => T | Promise<T>): Promise<T> {
    const outcome = changing.then(change);
    changing = outcome.catch(() => {});
    return outcome;
  }

  const stopWatching = stored.watch(onStored);
  return {
    get current() {
      return now().current;
    },
    async start(lasting) {
      parts = { lasting, current: build(config, await withStoredServices(config, stored.entries), lasting) };
    },
    reload: () => runExclusive(exchange),
    refreshTokens: () => runExclusive(refresh),
    runExclusive,
    measured() {
      const inFlight = new Map<string, number>();
      for (const [key, { prepared }] of now().current.upstreams) inFlight.set(key, prepared.slots.taken);
      for (const [key, taken] of retirement.inFlight()) inFlight.set(key, (inFlight.get(key) ?? 0) + taken);
      return [...inFlight].map(([key, taken]) => ({
        key,
        inFlight: taken,
        credentialRefusals: now().current.upstreams.get(key)?.prepared.credentialRefusals.count ?? 0,
        breaker: now().current.upstreams.get(key)?.prepared.breaker?.describe().state,
        retriesWithheld: now().current.upstreams.get(key)?.prepared.retryBudget.withheld ?? 0,
        connections: now().current.upstreams.get(key)?.prepared.transport.connections(),
        quota: measuredQuota(now().current.upstreams.get(key)?.prepared.quota?.describe()),
      }));
    },
    drainWaiting(withinMs) {
      const all = () => now().current.upstreams.values();
      for (const { prepared } of all()) prepared.quota?.drain(withinMs);
      setTimeout(() => {
        for (const { prepared } of all()) prepared.transport.drain();
      }, withinMs).unref();
    },
    async close() {
      stopWatching();
      // What it would put to work nobody would close.
      await changing;
      await retirement.close();
      const open = [...(parts?.current.upstreams.values() ?? [])];
      await Promise.all(open.map(({ prepared }) => prepared.transport.close()));
    },
  };
}

function measuredQuota(state: ServiceQuotaState | undefined): MeasuredService["quota"] {
  if (state === undefined) return undefined;
  return {
    remaining: state.tightest?.remaining,
    waiting: state.waiting,
    upstreamRefusals: state.upstreamRefusals,
  };
}

async function orProblems(
  { logger }: LastingParts,
  change: () => ReloadOutcome | Promise<ReloadOutcome>,
): Promise<ReloadOutcome> {
  try {
    return await change();
  } catch (error) {
    if (error instanceof ConfigProblems) return { isDone: false, problems: error.problems };
    logger.error({ err: error }, "the reload failed");
    return { isDone: false, problems: ["The configuration could not be put to work; the log has the cause."] };
  }
}
