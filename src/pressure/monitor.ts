/**
 * The load of the process, sampled on a timer and only compared for each request.
 * Invariant: a request costs one comparison, however much is measured; and a sample is never older than one interval while the
 * event loop runs.
 */
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import { getHeapStatistics } from "node:v8";
import type { Settings } from "../config/settings.ts";

export interface PressureSample {
  /** Mean over the sample interval, ms. */
  readonly eventLoopDelay: number;
  /** Bytes. */
  readonly heapUsed: number;
  readonly rssBytes: number;
  /** Share of the interval that the loop was busy, 0 to 1. */
  readonly eventLoopUtilized: number;
}

export type Gauge = keyof PressureSample;

/** A gauge over its threshold. */
export interface Pressure {
  readonly gauge: Gauge;
  readonly value: number;
  readonly limit: number;
  /** The variable that holds the threshold. */
  readonly setting: string;
}

export interface PressureMonitor {
  readonly sample: PressureSample;
  /** The first gauge over its threshold; undefined when there is none. */
  readonly pressure: Pressure | undefined;
  /** By variable: the thresholds of the start, because a reload changes none. */
  readonly thresholds: Readonly<Record<(typeof THRESHOLDS)[Gauge], number>>;
  close(): void;
}

/** The variable that holds the threshold of each gauge; 0 is no threshold. */
export const THRESHOLDS = {
  eventLoopDelay: "PRESSURE_MAX_EVENT_LOOP_DELAY",
  heapUsed: "PRESSURE_MAX_HEAP_USED_BYTES",
  rssBytes: "PRESSURE_MAX_RSS_BYTES",
  eventLoopUtilized: "PRESSURE_MAX_EVENT_LOOP_UTILIZATION",
} as const satisfies Record<Gauge, keyof Settings>;

const GAUGES = Object.keys(THRESHOLDS) as Gauge[];

/** The histogram's own timer, ms: it measures the delay plus this. */
const RESOLUTION_MS = 10;

export type PressureSettings = Pick<Settings, (typeof THRESHOLDS)[Gauge] | "PRESSURE_SAMPLE_INTERVAL">;

/** @param onChange called when the pressure begins, and with undefined when it ends. */
export function createPressureMonitor(
  settings: PressureSettings,
  onChange: (pressure: Pressure | undefined) => void = () => {},
): PressureMonitor {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let utilization = performance.eventLoopUtilization();
  let sampledAt = performance.now();
  const sample: PressureSample = { eventLoopDelay: 0, eventLoopUtilized: 0, ...memory(0) };
  // Read for each request, so these are plain members.
  const monitor = {
    sample,
    pressure: findPressure(sample, settings),
    thresholds: Object.fromEntries(GAUGES.map((gauge) => [THRESHOLDS[gauge], settings[THRESHOLDS[gauge]]])) as Record<
      (typeof THRESHOLDS)[Gauge],
      number
    >,
    close() {
      clearInterval(timer);
      histogram.disable();
    },
  };

  function takeSample(): void {
    const now = performance.now();
    // When the event loop was blocked for the whole interval, the histogram's timer did not run either.
    const meanMs = histogram.count === 0 ? now - sampledAt : histogram.mean / 1e6 - RESOLUTION_MS;
    const current = performance.eventLoopUtilization();
    const { utilization: eventLoopUtilized } = performance.eventLoopUtilization(current, utilization);
    monitor.sample = {
      eventLoopDelay: Math.max(0, meanMs),
      eventLoopUtilized,
      ...memory(monitor.sample.rssBytes),
    };
    const before = monitor.pressure;
    monitor.pressure = findPressure(monitor.sample, settings);
    if ((before === undefined) !== (monitor.pressure === undefined)) onChange(monitor.pressure);
    utilization = current;
    sampledAt = now;
    histogram.reset();
  }

  const timer = setInterval(takeSample, settings.PRESSURE_SAMPLE_INTERVAL);
  timer.unref();
  return monitor;
}

/** The first gauge over its threshold. Pure. */
export function findPressure(sample: PressureSample, settings: PressureSettings): Pressure | undefined {
  for (const gauge of GAUGES) {
    const setting = THRESHOLDS[gauge];
    const limit = settings[setting];
    if (limit > 0 && sample[gauge] > limit) return { gauge, value: sample[gauge], limit, setting };
  }
  return undefined;
}

/** @param lastRssBytes used where the system does not report the value. */
function memory(lastRssBytes: number): Pick<PressureSample, "heapUsed" | "rssBytes"> {
  const { heapUsed, rss } = processMemory();
  return { heapUsed, rssBytes: Number.isNaN(rss) ? lastRssBytes : rss };
}

export interface ProcessMemory {
  /** Bytes; NaN where the system does not report it. */
  readonly rss: number;
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** Buffers and the like. */
  readonly external: number;
}

/** Never throws. process.memoryUsage() would: it reads a file, and there may be no descriptor left to open it. */
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
