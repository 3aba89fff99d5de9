/** Where the checks look: the parts of one generation, and what outlives it. */
import { readdirSync, readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { getHeapStatistics } from "node:v8";
import type { Callers } from "../callers/callers.ts";
import type { IssuedKeys } from "../callers/issued-keys.ts";
import type { KeyRefusals } from "../callers/key-refusals.ts";
import type { Config } from "../config/load-config.ts";
import type { Listener } from "../control-plane/parts.ts";
import type { DiagnosticsContext } from "../diagnostics/check.ts";
import { findContainer } from "../diagnostics/listen.ts";
import type { KeyLimits } from "../limits/limiters.ts";
import type { Cors } from "../perimeter/cors.ts";
import { processMemory } from "../pressure/monitor.ts";
import type { CountedRefusals, Metrics } from "../telemetry/metrics.ts";
import type { UpdateStatus } from "../update-check.ts";
import type { Upstream } from "./upstreams.ts";

export interface DiagnosedGeneration {
  readonly config: Config;
  readonly warnings: readonly string[];
  readonly upstreams: ReadonlyMap<string, Upstream>;
  readonly callers: Callers;
  readonly cors: Cors;
  readonly checkForUpdate: () => Promise<UpdateStatus>;
  readonly probe: DiagnosticsContext["probe"];
}

/** A listener, and where it is bound; undefined while it is not. */
export interface BoundListener extends Listener {
  readonly boundTo: () => { readonly address: string; readonly port: number } | undefined;
}

/** What outlives a generation. */
export interface DiagnosedProcess
  extends Pick<DiagnosticsContext, "offline" | "load" | "stateFolder" | "monitor" | "fingerprint" | "logger"> {
  readonly listeners: () => readonly BoundListener[];
  readonly metrics: Pick<Metrics, "refusals">;
  readonly addresses: Pick<Config, "isLoopback" | "managementListener">;
  readonly issuedKeys: Pick<IssuedKeys, "list" | "count">;
  readonly keyRefusals: Pick<KeyRefusals, "list">;
  readonly keyLimits: Pick<KeyLimits, "exceeded">;
}

export function createDiagnosticsContext(
  generation: DiagnosedGeneration,
  lasting: DiagnosedProcess,
): DiagnosticsContext {
  const { config, warnings, upstreams, callers, cors, checkForUpdate } = generation;
  return {
    // Where it listens since it started: a reload moves nothing.
    config: { ...config, ...lasting.addresses },
    ...{ warnings, checkForUpdate, memory: readMemory, descriptors: readDescriptors, isInContainer: findContainer() },
    ...{ load: lasting.load, offline: lasting.offline },
    services: () =>
      [...upstreams.values()].map(({ service, prepared, dialOptions }) => ({
        ...{ service, isTlsStrict: dialOptions.isTlsStrict },
        ...{ limiter: prepared.limiter, slots: prepared.slots, times: prepared.times },
        ...{ credentialRefusals: prepared.credentialRefusals, quota: prepared.quota, breaker: prepared.breaker },
        connections: prepared.transport.connections,
      })),
    probe: generation.probe,
    logger: lasting.logger,
    listeners: () =>
      lasting.listeners().map(({ name, connections, boundTo }) => {
        const { address = "", port = 0 } = boundTo() ?? {};
        const { count, limit, limitPerAddress } = connections;
        return { name, address, port, connections: count, limit, limitPerAddress: limitPerAddress || null };
      }),
    stateFolder: lasting.stateFolder,
    monitor: lasting.monitor,
    refusals: async () => byService(await lasting.metrics.refusals()),
    refusedKeys: callers.refusedKeys,
    isProtected: callers.isProtected,
    issuedKeys: lasting.issuedKeys.list,
    issuedKeyCount: () => lasting.issuedKeys.count,
    keyRefusals: lasting.keyRefusals.list,
    keysAtLimit: lasting.keyLimits.exceeded,
    refusedOrigins: cors.refusedOrigins,
    fingerprint: lasting.fingerprint,
  };
}

function byService(refusals: readonly CountedRefusals[]): Map<string, CountedRefusals[]> {
  const found = new Map<string, CountedRefusals[]>();
  for (const refusal of refusals) {
    const others = found.get(refusal.service);
    if (others === undefined) found.set(refusal.service, [refusal]);
    else others.push(refusal);
  }
  return found;
}

function readMemory() {
  const { rss, heapUsed } = processMemory();
  // Without a limit some systems tell one beyond all memory.
  const limit = process.constrainedMemory();
  return {
    ...{ rss, heapUsed },
    heapLimit: getHeapStatistics().heap_size_limit,
    limit: limit > 0 && limit < totalmem() ? limit : null,
  };
}

/** Null where the system does not tell. */
function readDescriptors() {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    return soft === undefined ? null : { open: readdirSync("/proc/self/fd").length, limit: Number(soft) };
  } catch {
    return null;
  }
}
