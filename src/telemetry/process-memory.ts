/**
 * What this process takes of memory.
 * Invariant: asking never throws. process.memoryUsage() would: it reads a file, and there may be no descriptor left to open it.
 */
import { getHeapStatistics } from "node:v8";

export interface ProcessMemory {
  /** Bytes; not a number where the system does not tell. */
  readonly rss: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** Buffers and the like. */
  readonly external: number;
}

export function processMemory(): ProcessMemory {
  const { used_heap_size, total_heap_size, external_memory } = getHeapStatistics();
  return { rss: residentBytes(), heapUsed: used_heap_size, heapTotal: total_heap_size, external: external_memory };
}

function residentBytes(): number {
  try {
    return process.memoryUsage.rss();
  } catch {
    return Number.NaN;
  }
}
