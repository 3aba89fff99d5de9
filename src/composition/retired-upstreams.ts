/**
 * The upstreams of services that were replaced or removed.
 * Invariant: their exchanges end, then their connections are closed; exchanges of a removed service have a limited time.
 */
import { isDeepStrictEqual } from "node:util";
import type { Generation } from "./generation.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Upstream } from "./upstreams.ts";

/** How often retired upstreams are checked for exchanges in flight, ms. */
const SWEEP_MS = 50;

export class RetiredUpstreams {
  /** With the time, of `performance.now()`, when the service was removed; undefined if another one replaced it. */
  readonly #removedAt = new Map<Upstream, number | undefined>();
  readonly #current: () => Generation;
  readonly #parts: Pick<ProcessParts, "tunnels" | "metrics" | "spending">;
  #timer: NodeJS.Timeout | undefined;

  constructor(current: () => Generation, parts: Pick<ProcessParts, "tunnels" | "metrics" | "spending">) {
    this.#current = current;
    this.#parts = parts;
  }

  /** @param upstream that is no longer in the live table. */
  add(upstream: Upstream): void {
    const { key } = upstream.service;
    this.#removedAt.set(upstream, undefined);
    const next = this.#current().upstreams.get(key);
    if (next !== undefined) passMessagesOn(upstream, next);
    else {
      // Earlier versions of a removed service end, too.
      for (const other of this.#removedAt.keys()) {
        if (other.service.key !== key) continue;
        this.#removedAt.set(other, performance.now());
        this.#parts.tunnels.closeOfService(other.prepared);
        other.prepared.limiter?.queue?.drain(this.#graceMs, "removed");
      }
    }
    this.#timer ??= setInterval(() => this.#sweep(), SWEEP_MS).unref();
  }

  *inFlight(): Generator<readonly [key: string, inFlight: number]> {
    for (const { service, prepared } of this.#removedAt.keys()) yield [service.key, prepared.slots.taken];
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all([...this.#removedAt.keys()].map(({ prepared }) => prepared.close()));
  }

  #isServed(key: string): boolean {
    return this.#current().upstreams.has(key);
  }

  /** For exchanges of a removed service, because an event stream never ends by itself. */
  get #graceMs(): number {
    return this.#current().config.settings.SHUTDOWN_TIMEOUT;
  }

  #sweep(): void {
    const graceMs = this.#graceMs;
    for (const [upstream, removedAt] of this.#removedAt) {
      const { service, prepared } = upstream;
      const hasEnded = prepared.slots.taken === 0 && prepared.slots.waiting === 0;
      const isOverdue = removedAt !== undefined && performance.now() - removedAt > graceMs;
      if (!hasEnded && isOverdue) void prepared.transport.close();
      if (!hasEnded) continue;
      void prepared.close();
      this.#removedAt.delete(upstream);
      if (this.#isServed(service.key)) continue;
      this.#parts.metrics.forget(service.key);
      this.#parts.spending.forget(service.key);
    }
    if (this.#removedAt.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

/** Messages of open WebSockets get the new secret where the upstream and the rule are the same. */
function passMessagesOn(old: Upstream, next: Upstream): void {
  const placeOf = ({ service: { baseUrl, versionedBaseUrls, ws } }: Upstream) => [baseUrl, versionedBaseUrls, ws];
  const { messages } = next.prepared;
  if (messages === undefined || !isDeepStrictEqual(placeOf(old), placeOf(next))) return;
  old.prepared.messages?.continueWith(messages);
}
