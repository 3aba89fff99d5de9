/** Services that are served no more, or were replaced: their last exchanges end, then their connections are closed. */
import type { LastingParts } from "./generation.ts";
import type { Upstream } from "./upstreams.ts";

export interface Retirement {
  /** Takes over what has just been taken out of the table. */
  add(upstream: Upstream): void;
  /** By key: what is under way on what was taken out. */
  inFlight(): Iterable<readonly [key: string, inFlight: number]>;
  close(): Promise<void>;
}

export interface RetirementParts {
  /** How long what is under way on a service that is no more may take to end, ms: then it is cut. */
  readonly graceMs: () => number;
  /** Whether a service of this key is served now. */
  readonly isServed: (key: string) => boolean;
  readonly lasting: () => Pick<LastingParts, "tunnels" | "metrics">;
}

/** How often those that still have exchanges under way are looked at, ms. */
const SWEEP_MS = 50;

export function createRetirement({ isServed, lasting, graceMs }: RetirementParts): Retirement {
  /** With the time, of `performance.now()`, at which its service was removed; undefined while another serves in its place. */
  const retired = new Map<Upstream, number | undefined>();
  let timer: NodeJS.Timeout | undefined;

  function sweep(): void {
    for (const [upstream, removedAt] of retired) {
      const { service, prepared } = upstream;
      const isOver = prepared.slots.taken === 0 && prepared.slots.waiting === 0;
      // An event stream has no end of its own.
      const isOverdue = removedAt !== undefined && performance.now() - removedAt > graceMs();
      if (isOver || isOverdue) void prepared.transport.close();
      if (!isOver) continue;
      retired.delete(upstream);
      if (!isServed(service.key)) lasting().metrics.forget(service.key);
    }
    if (retired.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  return {
    add(upstream) {
      const { key } = upstream.service;
      retired.set(upstream, undefined);
      if (!isServed(key)) {
        for (const other of retired.keys()) {
          // Those of earlier versions of the service, too.
          if (other.service.key !== key) continue;
          retired.set(other, performance.now());
          lasting().tunnels.endThoseOf(other.prepared);
        }
      }
      timer ??= setInterval(sweep, SWEEP_MS).unref();
    },
    *inFlight() {
      for (const { service, prepared } of retired.keys()) yield [service.key, prepared.slots.taken];
    },
    async close() {
      clearInterval(timer);
      await Promise.all([...retired.keys()].map(({ prepared }) => prepared.transport.close()));
    },
  };
}
