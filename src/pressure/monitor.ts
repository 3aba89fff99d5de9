/**
 * How hard the process works, sampled on a timer and only compared per request.
 * Invariant: asking costs one comparison, whatever is measured; and the answer is never older than one interval of a
 * loop that turns.
 */
import { monitorEventLoopDelay, performance } from "node:perf_hooks";
import type { Settings } from "../config/settings.ts";
import { processMemory } from "../telemetry/process-memory.ts";

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
  /** The first gauge over its threshold; undefined when all is well. */
  readonly pressure: Pressure | undefined;
  /** By variable, as they are compared with: those of the start, a reload changes none. */
  readonly thresholds: Readonly<Record<(typeof THRESHOLDS)[Gauge], number>>;
  close(): void;
}

/** Each gauge with the variable of its threshold, 0 for none. */
export const THRESHOLDS = {
  eventLoopDelay: "PRESSURE_MAX_EVENT_LOOP_DELAY",
  heapUsed: "PRESSURE_MAX_HEAP_USED_BYTES",
  rssBytes: "PRESSURE_MAX_RSS_BYTES",
  eventLoopUtilized: "PRESSURE_MAX_EVENT_LOOP_UTILIZATION",
} as const satisfies Record<Gauge, keyof Settings>;

const GAUGES = Object.keys(THRESHOLDS) as Gauge[];

/** The histogram's own timer, ms: what it measures is this much more than the delay. */
const RESOLUTION_MS = 10;

export type PressureSettings = Pick<Settings, (typeof THRESHOLDS)[Gauge] | "PRESSURE_SAMPLE_INTERVAL">;

export function createPressureMonitor(settings: PressureSettings): PressureMonitor {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  let utilization = performance.eventLoopUtilization();
  let sampledAt = performance.now();
  let sample: PressureSample = { eventLoopDelay: 0, eventLoopUtilized: 0, ...memory(0) };
  let pressure = findPressure(sample, settings);

  function takeSample(): void {
    const now = performance.now();
    // A loop that stood still for the whole interval ran no timer of the histogram's either.
    const meanMs = histogram.count === 0 ? now - sampledAt : histogram.mean / 1e6 - RESOLUTION_MS;
    const current = performance.eventLoopUtilization();
    const { utilization: eventLoopUtilized } = performance.eventLoopUtilization(current, utilization);
    sample = { eventLoopDelay: Math.max(0, meanMs), eventLoopUtilized, ...memory(sample.rssBytes) };
    pressure = findPressure(sample, settings);
    utilization = current;
    sampledAt = now;
    histogram.reset();
  }

  const timer = setInterval(takeSample, settings.PRESSURE_SAMPLE_INTERVAL);
  timer.unref();
  return {
    get sample() {
      return sample;
    },
    get pressure() {
      return pressure;
    },
    thresholds: Object.fromEntries(GAUGES.map((gauge) => [THRESHOLDS[gauge], settings[THRESHOLDS[gauge]]])) as Record<
      (typeof THRESHOLDS)[Gauge],
      number
    >,
    close() {
      clearInterval(timer);
      histogram.disable();
    },
  };
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

/** @param lastRssBytes stands for what the system does not tell. */
function memory(lastRssBytes: number): Pick<PressureSample, "heapUsed" | "rssBytes"> {
  const { heapUsed, rss } = processMemory();
  return { heapUsed, rssBytes: Number.isNaN(rss) ? lastRssBytes : rss };
}
