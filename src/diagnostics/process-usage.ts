/** What the process uses of its memory and file descriptors, with the limits. */
import { readdirSync, readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { getHeapStatistics } from "node:v8";
import { processMemory } from "../pressure/monitor.ts";
import type { DiagnosticsContext } from "./check.ts";

export const processUsage: Pick<DiagnosticsContext, "memory" | "descriptors"> = {
  memory() {
    const { rss, heapUsed } = processMemory();
    // Some systems report a limit above the whole memory if none is set.
    const limit = process.constrainedMemory();
    return {
      rss,
      heapUsed,
      heapLimit: getHeapStatistics().heap_size_limit,
      limit: limit > 0 && limit < totalmem() ? limit : null,
    };
  },

  descriptors() {
    try {
      const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
      return soft === undefined ? null : { open: readdirSync("/proc/self/fd").length, limit: Number(soft) };
    } catch {
      // Not Linux.
      return null;
    }
  },
};
