/**
 * Which generation is served by, and how the next one takes its place.
 * Invariant: a configuration that cannot be read or built leaves everything as it was; and what was replaced ends when its
 * last exchange has.
 */
import { withFreshTokens } from "./config/fresh-tokens.ts";
import { type Config, ConfigProblems } from "./config/load-config.ts";
import type { PreparedService } from "./data-plane/prepared-service.ts";
import { createGeneration, type Generation, type LastingParts } from "./generation.ts";
import { compareGenerations, type ReloadOutcome } from "./registry/reload-outcome.ts";

export interface Generations {
  readonly current: Generation;
  /** The first one. @param secrets hears of the secrets of those that follow. */
  start(config: Config, lasting: LastingParts, secrets: { add(config: Config): void }): void;
  /** One at a time: a second change sees what the first has made. */
  readonly reload: () => Promise<ReloadOutcome>;
  /** The token files only. */
  readonly refreshTokens: () => Promise<ReloadOutcome>;
  /** Of each service now, replaced ones left out. */
  inFlight(): { readonly key: string; readonly inFlight: number }[];
  close(): Promise<void>;
}

/** How often a service that was replaced is looked at: its connections end when its last exchange has, ms. */
const RETIRE_SWEEP_MS = 50;

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

/** @param load reads the configuration. @throws ConfigProblems */
export function createGenerations(load: () => Config): Generations {
  let current: Generation | undefined;
  let lasting: LastingParts | undefined;
  let secrets: { add(config: Config): void } | undefined;
  let reloading: Promise<unknown> = Promise.resolve();
  const retired = new Set<PreparedService>();
  let sweep: NodeJS.Timeout | undefined;

  const now = (): Generation => {
    if (current === undefined) throw new Error("no generation yet");
    return current;
  };

  function exchange(read: (previous: Config) => Config): ReloadOutcome {
    const previous = now();
    try {
      const config = read(previous.config);
      const exposed = findExposed(config, (lasting as LastingParts).addresses);
      if (exposed.length > 0) return { isDone: false, problems: exposed };
      const next = createGeneration(config, lasting as LastingParts, previous);
      secrets?.add(config);
      current = next;
      for (const [key, upstream] of previous.upstreams) {
        if (next.upstreams.get(key) !== upstream) retired.add(upstream.prepared);
      }
      sweep ??= setInterval(sweepRetired, RETIRE_SWEEP_MS).unref();
      return compareGenerations(previous, next);
    } catch (error) {
      if (error instanceof ConfigProblems) return { isDone: false, problems: error.problems };
      lasting?.logger.error({ err: error }, "the reload failed");
      return { isDone: false, problems: ["The configuration could not be put to work; the log has the cause."] };
    }
  }

  function inTurn(read: (previous: Config) => Config): Promise<ReloadOutcome> {
    const outcome = reloading.then(() => exchange(read));
    reloading = outcome;
    return outcome;
  }

  function sweepRetired(): void {
    for (const prepared of retired) {
      if (prepared.slots.taken > 0) continue;
      retired.delete(prepared);
      void prepared.transport.close();
    }
    if (retired.size > 0) return;
    clearInterval(sweep);
    sweep = undefined;
  }

  return {
    get current() {
      return now();
    },
    start(config, parts, heard) {
      lasting = parts;
      secrets = heard;
      current = createGeneration(config, parts);
    },
    reload: () => inTurn(load),
    refreshTokens: () => inTurn(withFreshTokens),
    inFlight: () => [...now().upstreams].map(([key, { prepared }]) => ({ key, inFlight: prepared.slots.taken })),
    async close() {
      clearInterval(sweep);
      const open = [...retired, ...[...now().upstreams.values()].map(({ prepared }) => prepared)];
      await Promise.all(open.map(({ transport }) => transport.close()));
    },
  };
}
