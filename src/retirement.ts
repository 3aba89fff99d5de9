/** Services that are served no more, or were replaced: their last exchanges end, then their connections are closed. */
import type { LastingParts } from "./generation.ts";
import type { Upstream } from "./upstreams.ts";

export interface Retirement {
  /** Takes over what has just been taken out of the table. */
  add(upstream: Upstream): void;
  close(): Promise<void>;
}

export interface RetirementParts {
  /** Whether a service of this key is served now. */
  readonly isServed: (key: string) => boolean;
  readonly lasting: () => Pick<LastingParts, "tunnels" | "metrics">;
}

/** How often those that still have exchanges under way are looked at, ms. */
const SWEEP_MS = 50;

export function createRetirement({ isServed, lasting }: RetirementParts): Retirement {
  const retired = new Set<Upstream>();
  let timer: NodeJS.Timeout | undefined;

  function sweep(): void {
    for (const upstream of retired) {
      const { service, prepared } = upstream;
      if (prepared.slots.taken > 0) continue;
      retired.delete(upstream);
      void prepared.transport.close();
      if (!isServed(service.key)) lasting().metrics.forget(service.key);
    }
    if (retired.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  }

  return {
    add(upstream) {
      const { key } = upstream.service;
      retired.add(upstream);
      if (!isServed(key)) {
        // A WebSocket has no end of its own; those of earlier versions of the service are open, too.
        for (const other of retired) if (other.service.key === key) lasting().tunnels.endThoseOf(other.prepared);
      }
      timer ??= setInterval(sweep, SWEEP_MS).unref();
    },
    async close() {
      clearInterval(timer);
      await Promise.all([...retired].map(({ prepared }) => prepared.transport.close()));
    },
  };
}
